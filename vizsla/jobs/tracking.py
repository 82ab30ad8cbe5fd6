"""Every job is an MLflow run; jobs themselves know nothing of it.

Importing MLflow takes seconds, so nobody waits for it. When a job begins, its controller notes where it is to be
recorded; when it ends, the controller starts a small process, which brings the runs of all jobs of the folder up to
date (:mod:`vizsla.jobs.recorder`). While jobs run that would cost them cores: it is done earlier only where somebody
may look, at a server or with ``vizsla ui``. It may be killed at any time: the next one goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from vizsla.errors import MissingExtraError, StorageError, UsageError
from vizsla.files import storage, write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import load
from vizsla.jobs.lock import exclusively
from vizsla.settings import settings
from vizsla.version import python_path

FOLDER = ".tracking"
OFF = "off"
_NOWHERE = (OFF, "0", "none")
NOTE, ERROR = "tracking.json", "tracking-error.json"
"""In ``.run`` of a job: its run and the address, and why it could not be recorded."""
RECORDED = "recorded"
"""In the note of a job that is to be recorded: of which moment its state is that was recorded as an end."""
_ADDRESSES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "databricks-uc")
_RECORDER = (sys.executable, "-m", "vizsla.jobs.recorder")
_MAKE_TABLES = "import sys; from vizsla.jobs.recorder import make_database; make_database(sys.argv[1])"
_SERVER_SECONDS = 15.0
"""From when on a running job is recorded on a server, where anybody may look."""
_GATHER_SECONDS = 30.0
"""For how long the ends of a search's trials are gathered, before MLflow is imported for them."""
_PASSWORD = re.compile(r"(://[^\s:/@'\"]*:)[^\s'\"]*@")
_started: list[subprocess.Popen[bytes]] = []


def tracking_uri(home: Path) -> str | None:
    """Where runs are recorded: what ``VIZSLA_TRACKING`` says, by default a SQLite file in the folder of the jobs.

    None when tracking is off or MLflow is not installed; and of jobs in a bucket, where a file cannot be shared.
    """
    address = settings().tracking
    if address.lower() in _NOWHERE or importlib.util.find_spec("mlflow") is None:
        return None
    if not address and settings().bucket is not None:
        return None
    return address or sqlite_address(home.absolute() / "mlflow.db")


def check_tracking_uri(uri: str, where: str) -> str:
    """Return an address that MLflow may be able to record at, or ``off``.

    Raises
    ------
    UsageError
        For any other scheme, or none.
    """
    scheme, colon, _ = uri.partition(":")
    is_folder = not colon and os.sep in uri
    is_known = scheme.partition("+")[0] in _ADDRESSES and (bool(colon) or scheme == "databricks")
    if uri.lower() != OFF and not is_folder and not is_known:
        raise UsageError(
            f"Jobs cannot be recorded at {masked(uri)!r}.",
            where=where,
            allowed="http://, https://, sqlite:///, postgresql://, mysql://, mssql://, file:, databricks, a folder, "
            "or off",
            do=f"http://{uri} for a server of MLflow" if re.fullmatch(r"[\w.-]+:\d+/?", uri) else None,
        )
    return uri


def check_setting() -> None:
    """That ``VIZSLA_TRACKING`` says an address, off, or nothing.

    Raises
    ------
    UsageError
        Otherwise.
    """
    address = settings().tracking
    if address and address.lower() not in _NOWHERE:
        check_tracking_uri(address, "VIZSLA_TRACKING")


def masked(text: str) -> str:
    """The text without the passwords of the addresses in it."""
    return _PASSWORD.sub(r"\1***@", text)


def error_of(job: JobDirectory) -> dict[str, str] | None:
    """Why the job could not be recorded the last time: ``uri``, ``error``, ``time``; None when nothing is wrong."""
    document = load(job.run / ERROR)
    return document and {name: masked(str(value)) for name, value in document.items()}


def begin(job: JobDirectory) -> None:
    """Write down where a job is to be recorded that begins an attempt; a job never fails for want of tracking.

    One that has a run already is recorded where that is, whatever the settings say by now, unless tracking is off.
    """
    home, note = job.path.parent, load(job.run / NOTE)
    uri = tracking_uri(home)
    if uri is None and note is None:
        return
    note = note or {"uri": uri}
    changed = {name: value for name, value in note.items() if name != RECORDED}
    if uri is not None:
        changed[RECORDED] = note.get(RECORDED)
    with contextlib.suppress(StorageError, OSError):
        if changed != load(job.run / NOTE):
            write_json(job.run / NOTE, changed, private=True)
        if uri is not None and not is_local(str(note["uri"])):
            _sync_soon(home, _SERVER_SECONDS)


def end(job: JobDirectory) -> None:
    """Have a job recorded that has ended. Returns at once."""
    with contextlib.suppress(StorageError, OSError):
        if RECORDED in (load(job.run / NOTE) or {}):
            _sync_soon(job.path.parent, _GATHER_SECONDS if job.parent else 0.0)


def due(home: Path) -> Iterator[JobDirectory]:
    """The jobs of ``home`` whose runs are not up to date, running ones too; those that failed before are the last."""
    jobs = [JobDirectory(note.parents[1]) for note in sorted(home.glob(f"*/.run/{NOTE}"))]
    for job in sorted(jobs, key=lambda job: (job.run / ERROR).exists()):
        note = load(job.run / NOTE) or {}
        state = load(job.path / "state.json") or {}
        if RECORDED in note and note[RECORDED] != state.get("updated", ""):
            yield job


def _sync_soon(home: Path, delay: float) -> None:
    """Start the process that brings all runs of ``home`` up to date, unless one waits to do so already."""
    if (turn := take_turn(home)) is None:
        return
    try:
        with open(home / FOLDER / "log.txt", "ab") as log:
            _started[:] = [process for process in _started if process.poll() is None]
            process = subprocess.Popen(
                [*_RECORDER, str(home.absolute()), str(turn), str(delay)],
                env=_with_vizsla(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[turn],
            )
            _started.append(process)  # it may outlive the controller; its exit code is taken at the next job
    finally:
        os.close(turn)


def take_turn(home: Path) -> int | None:
    """An open file that makes this process the next one to bring the runs of ``home`` up to date; None where another
    is: that one will see all that has happened until now."""
    (home / FOLDER).mkdir(exist_ok=True)
    return exclusively(os.open(home / FOLDER / "next", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))


def keep_up(home: Path) -> None:
    """Have running jobs of ``home`` recorded as they go, until this process ends, whatever program it becomes."""
    subprocess.Popen([*_RECORDER, str(home.absolute()), str(os.getpid())], env=_with_vizsla(), stdin=subprocess.DEVNULL)


def is_local(uri: str) -> bool:
    """Whether an address is a file of this machine, not a server."""
    return "://" not in uri or uri.startswith("sqlite:")


def _make_database(uri: str) -> None:
    """Make MLflow's tables, where there are none yet, before its server and the recorder both begin to."""
    arguments = [sys.executable, "-c", _MAKE_TABLES, uri]
    subprocess.run(arguments, env=_with_vizsla(), check=False, stderr=subprocess.DEVNULL)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other address."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])) if uri.startswith("sqlite:///") else None


def sqlite_address(file: Path) -> str:
    """The address of a SQLite file, whatever its folders are called."""
    return "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")


def _with_vizsla() -> dict[str, str]:
    """The environment for a process that imports this package, also from a checkout that is not installed."""
    return os.environ | {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))}


def prepare_ui(home: Path, uri: str | None, port: int) -> list[str] | None:
    """The command that serves MLflow's pages on this machine only; None when ``uri`` is a server itself.

    Running jobs are recorded as they go, until this process ends.

    Raises
    ------
    MissingExtraError
        When MLflow is not installed.
    UsageError
        When tracking is off.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise MissingExtraError("vizsla ui", "track", "mlflow")
    address = check_tracking_uri(uri, "vizsla ui --tracking-uri") if uri else tracking_uri(home)
    if address is None or address.lower() == OFF:
        raise UsageError(
            "Tracking is off: there is nothing to show.",
            where="VIZSLA_TRACKING",
            do="unset it (of jobs in a bucket: set it), or name a server or database with `vizsla ui --tracking-uri`",
        )
    if address.startswith(("http://", "https://", "databricks")):
        return None
    if (file := sqlite_file(address)) is not None and not file.exists():
        with storage(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        _make_database(address)
    keep_up(home)
    server = [sys.executable, *"-m mlflow server --host 127.0.0.1 --workers 1 --port".split(), str(port)]
    return [*server, "--backend-store-uri", address, "--default-artifact-root", artifact_root(home)]


def artifact_root(home: Path) -> str:
    """Where a local database's artifacts are."""
    return (home.absolute() / "mlartifacts").as_uri()
