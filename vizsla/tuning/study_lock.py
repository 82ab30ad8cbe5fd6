"""One controller for a study: a lock that the system, or the database, takes away with the process."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vizsla.errors import JobError
from vizsla.files import storage
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.tuning.storage import FEATURE, database, understandable, without_password


@contextlib.contextmanager
def controlling(uri: str, name: str, holder: str) -> Iterator[None]:
    """Be the only one that writes: all studies in a file, or the study ``name`` in PostgreSQL.

    ``holder`` is the job that others are told of. Other databases are left to their users.

    Raises
    ------
    JobError
        When another process has it.
    VizslaError
        When the database cannot be reached.
    """
    if uri.startswith("postgres"):
        with _in_postgresql(uri, name, holder):
            yield
    elif "://" in uri:
        yield
    else:
        with _beside(uri, holder):
            yield


@contextlib.contextmanager
def _beside(uri: str, holder: str) -> Iterator[None]:
    path = Path(uri).absolute()
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _taken(uri, os.pread(file, 200, 0).decode(errors="replace").strip(), "file") from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"job {holder}, process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


_HOLDER = """
    SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    ) AND (l.classid::bigint << 32 | l.objid::bigint) = :key
"""


@contextlib.contextmanager
def _in_postgresql(uri: str, name: str, holder: str) -> Iterator[None]:
    """An advisory lock of a session (PostgreSQL's documentation, 13.3.5): the server lets it go with the connection."""
    sql = require("sqlalchemy", extra="tune", feature=FEATURE)
    key = {"key": int.from_bytes(hashlib.sha256(f"vizsla {name}".encode()).digest()[:8]) >> 1}
    engine = sql.create_engine(database(uri), poolclass=sql.pool.NullPool, isolation_level="AUTOCOMMIT")
    with contextlib.ExitStack() as stack:
        with understandable(uri):
            session = stack.enter_context(engine.connect())
            if not session.execute(sql.text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
                raise _taken(uri, session.execute(sql.text(_HOLDER), key).scalar() or "", "study (ADDRESS#NAME)")
            about = {"about": f"job {holder}"[:63]}
            session.execute(sql.text("SELECT set_config('application_name', :about, false)"), about)
        yield


def _taken(uri: str, other: str, another: str) -> JobError:
    return JobError(
        f"Another search writes this study{f': {other}' if other else ''}.",
        where=without_password(uri),
        do=f"wait for its end, stop it with `vizsla jobs stop`, or name another {another} by {spelled('study')}",
    )
