"""Where studies are kept: SQLite or another database, and trials as they lie there."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import VizslaError
from vizsla.files import storage
from vizsla.optional import require
from vizsla.tuning.trials import TrialRecord

FEATURE = "Searching for hyperparameters"
RECORD = "record"
"""The attribute of a stored trial that holds all that Optuna has no field for."""


_DRIVERS = ("psycopg", "psycopg2", "pg8000")
"""Packages that speak to PostgreSQL, the first that is installed is used; the extra brings the last (BSD)."""


def database(uri: str) -> str:
    """An address as SQLAlchemy wants it: ``postgresql://`` gets a driver that is installed.

    Raises
    ------
    MissingExtraError
        When none is.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in ("postgres", "postgresql"):
        return uri
    driver = next((name for name in _DRIVERS if importlib.util.find_spec(name)), None)
    if driver is None:
        require(_DRIVERS[-1], extra="postgres", feature="A study in PostgreSQL")
    return f"postgresql+{driver}://{rest}"


def without_password(uri: str) -> str:
    """An address without its password, for messages."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", uri)


def connect(optuna: Any, uri: str, *, reading: bool = False) -> Any:
    """Optuna's storage at an address: a file for SQLite, or any database that SQLAlchemy knows.

    A new file appears whole, in one step: a kill leaves none or an empty study, and who only reads meets no half one.
    """
    if "://" in uri:
        # A connection that the server gave up during a long training is made anew.
        options = {"pool_pre_ping": True}
        return optuna.storages.RDBStorage(database(uri), engine_kwargs=options, skip_table_creation=reading)
    path = Path(uri).absolute()
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _create(optuna, path)
    opened = optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 30}}, skip_table_creation=reading
    )
    event = require("sqlalchemy.event", extra="tune", feature=FEATURE)

    def configure(connection: Any, record: Any) -> None:
        # Write-ahead: a kill leaves the last whole transaction, and a commit need not wait for the disk.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(opened.engine, "connect", configure)
    opened.engine.dispose()
    return opened


def _create(optuna: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        optuna.storages.RDBStorage(f"sqlite:///{temporary}").engine.dispose()
        with storage(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def understandable(uri: str) -> Iterator[None]:
    """Turn what a database refuses into words.

    Raises
    ------
    VizslaError
        When it cannot be opened.
    """
    try:
        yield
    except VizslaError:
        raise
    except Exception as error:  # SQLAlchemy, its drivers and Alembic share no base class
        raise VizslaError(
            f"The study cannot be opened: {type(error).__name__}: {(str(error) or '?').splitlines()[0]:.200}",
            where=without_password(uri),
            allowed="a file that is a study or does not exist, or postgresql://USER:PASSWORD@HOST/DATABASE",
            do="name another file, or correct the address",
        ) from error


def facts_of(record: TrialRecord) -> dict[str, Any]:
    """A record as plain JSON."""
    facts = dict(vars(record))
    facts["curve"] = [v if math.isfinite(v) else str(v) for v in record.curve]
    facts["metrics"] = {n: v for n, v in record.metrics.items() if math.isfinite(v)}
    return facts


def record_of(number: int, facts: dict[str, Any]) -> TrialRecord:
    """The record in :func:`facts_of`."""
    fields = {name: facts[name] for name in TrialRecord.__dataclass_fields__ if name in facts}
    return TrialRecord(**(fields | {"number": number, "curve": tuple(float(v) for v in facts["curve"])}))


def stored_trials(uri: str, name: str) -> Sequence[TrialRecord]:
    """The trials of a study, without going on with it; none where there is no such study."""
    optuna = require("optuna", extra="tune", feature=FEATURE)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if "://" not in uri and not Path(uri).is_file():
        return []
    with understandable(uri):
        backend = connect(optuna, uri, reading=True)
        if name not in optuna.get_all_study_names(backend):
            return []
        study = optuna.load_study(storage=backend, study_name=name)
        return [
            record_of(t.number, t.user_attrs[RECORD])
            for t in study.get_trials(deepcopy=False)
            if RECORD in t.user_attrs
        ]
