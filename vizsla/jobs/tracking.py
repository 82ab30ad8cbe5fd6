"""Every job is an MLflow run, written by a recorder beside the controller; jobs themselves know nothing of it.

Importing MLflow takes seconds, so nobody waits for it: the controller leaves a note in ``.tracking`` of the folder of
the jobs and starts a small process, which sleeps until a job has ended and only then becomes the recorder
(:mod:`vizsla.jobs.recorder`). While jobs run it costs them cores, so it comes earlier only where somebody may look:
at a server, or with ``vizsla ui``. One recorder serves all jobs of a folder; it ends when none is left. It may be
killed at any time: the notes stay, and the next one goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

from vizsla.errors import MissingExtraError, StorageError, UsageError, VizslaError
from vizsla.files import storage, write_bytes
from vizsla.jobs.attempt import settle
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import load
from vizsla.jobs.lock import exclusively
from vizsla.settings import settings
from vizsla.version import PACKAGE, python_path

FOLDER = ".tracking"
OFF = "off"
_NOWHERE = (OFF, "0", "none")
NOTE, ERROR = "tracking.json", "tracking-error.json"
"""In ``.run`` of a job: its run and the address, and why it could not be recorded."""
_ADDRESSES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "databricks-uc")
_BOOT = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
    "from vizsla.jobs.tracking import wait; wait(Path(sys.argv[2]))"
)
_MAKE_TABLES = "import sys; from vizsla.jobs.recorder import make_database; make_database(sys.argv[1])"
_SERVER_SECONDS, _DATABASE_SECONDS = 15.0, 600.0
"""From when on a running job is recorded: on a server anybody may look, at a file of this machine hardly anybody."""
_PASSWORD = re.compile(r"(://[^\s:/@'\"]*:)[^\s'\"]*@")
_PAUSE = 0.25
_started: list[subprocess.Popen[bytes]] = []


def tracking_uri(home: Path) -> str | None:
    """Where runs are recorded: what ``VIZSLA_TRACKING`` says, by default a SQLite file in the folder of the jobs.

    None when tracking is off or MLflow is not installed.
    """
    chosen = settings().tracking
    if chosen.lower() in _NOWHERE or importlib.util.find_spec("mlflow") is None:
        return None
    return chosen or sqlite_address(home.absolute() / "mlflow.db")


def check_tracking_uri(uri: str, where: str = "--tracking-uri") -> str:
    """Return an address that MLflow may be able to record at, or ``off``.

    Raises
    ------
    UsageError
        For any other scheme, or none.
    """
    scheme, colon, _ = uri.partition(":")
    is_folder = not colon and os.sep in uri
    known = scheme.partition("+")[0] in _ADDRESSES and (bool(colon) or scheme == "databricks")
    if uri.lower() != OFF and not is_folder and not known:
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
    chosen = settings().tracking
    if chosen and chosen.lower() not in _NOWHERE:
        check_tracking_uri(chosen, "VIZSLA_TRACKING")


def masked(text: str) -> str:
    """The text without the passwords of the addresses in it."""
    return _PASSWORD.sub(r"\1***@", text)


def error_of(job: JobDirectory) -> dict[str, str] | None:
    """Why the job could not be recorded the last time: ``uri``, ``error``, ``time``; None when nothing is wrong."""
    found = load(job.run / ERROR)
    return found and {name: masked(str(value)) for name, value in found.items()}


def announce(job: JobDirectory) -> None:
    """Have the job recorded. Returns at once; a job never fails for want of tracking.

    A job that has a run already is recorded where that is, whatever the settings say by now, unless tracking is off.
    """
    home = job.path.parent
    uri = tracking_uri(home)
    if uri is None:
        return
    uri = str((load(job.run / NOTE) or {}).get("uri", uri))
    with contextlib.suppress(StorageError, OSError):
        write_bytes(home / FOLDER / "queue" / job.name, uri.encode(), make_folder=True, private=True)
        if (lock := recorder_lock(home)) is None:
            return  # one is there already
        os.close(lock)
        with open(home / FOLDER / "log.txt", "ab") as log:
            _started[:] = [process for process in _started if process.poll() is None]
            waiter = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, str(PACKAGE.parent), str(home.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            _started.append(waiter)  # it may outlive the controller; its exit code is taken at the next job


def recorder_lock(home: Path) -> int | None:
    """An open file that makes this process the one recorder of ``home``; None when there is another."""
    file = os.open(home / FOLDER / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(file, True)
    return exclusively(file)


def let_go(home: Path, lock: int, is_left: Callable[[], bool]) -> int | None:
    """Be the recorder no more; the lock again, where something was announced in the last moment."""
    os.close(lock)
    return recorder_lock(home) if is_left() else None


def waiting(home: Path) -> Iterator[tuple[JobDirectory, Path]]:
    """Jobs that are to be recorded, and their notes."""
    queue = home / FOLDER / "queue"
    with contextlib.suppress(OSError):
        for note in sorted(queue.iterdir()):
            if not note.name.startswith("."):
                yield JobDirectory(home / note.name), note


def wait(home: Path) -> None:
    """Sleep until there is something to record, then become the recorder. Loads nothing but the standard library."""
    os.nice(10)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write("10")  # a session of its own is a group of its own for the scheduler: nice alone means nothing
    lock = recorder_lock(home)
    if lock is None:
        return
    first_seen: dict[str, float] = {}
    while True:
        found = False
        for job, note in waiting(home):
            found = True
            try:
                ended = settle(job).has_ended
            except VizslaError:
                if not (job.path / "job.json").exists():
                    note.unlink(missing_ok=True)  # removed meanwhile
                    continue
                ended = True  # its files are damaged: the recorder says so
            runs = time.monotonic() - first_seen.setdefault(job.name, time.monotonic())
            if ended or runs > (_DATABASE_SECONDS if is_local(address(note)) else _SERVER_SECONDS) or watched(home):
                arguments = [sys.executable, "-m", "vizsla.jobs.recorder", str(home), str(lock)]
                os.execve(sys.executable, arguments, _with_vizsla())
        if not found and (lock := let_go(home, lock, lambda: any(waiting(home)))) is None:
            return
        time.sleep(_PAUSE)


def address(note: Path) -> str:
    """Where the job of this note is to be recorded; empty when the note was just taken away."""
    try:
        return note.read_text()
    except (OSError, ValueError):
        return ""


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


def watch(home: Path) -> None:
    """Have running jobs of ``home`` recorded as they go, until this process ends, whatever program it becomes."""
    path = home / FOLDER / "watched"
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.set_inheritable(file, True)
        fcntl.flock(file, fcntl.LOCK_SH)


def watched(home: Path) -> bool:
    """Whether somebody called :func:`watch` and is still there."""
    try:
        file = os.open(home / FOLDER / "watched", os.O_RDWR)
    except OSError:
        return False
    lock = exclusively(file)
    if lock is not None:
        os.close(lock)
    return lock is None


def _with_vizsla() -> dict[str, str]:
    """The environment for a process that imports this package, also from a checkout that is not installed."""
    return os.environ | {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))}


def prepare_ui(home: Path, uri: str | None, port: int) -> list[str] | None:
    """The command that serves MLflow's pages on this machine only; None when ``uri`` is a server itself.

    From now on running jobs are recorded as they go, until this process ends, whatever program it becomes.

    Raises
    ------
    MissingExtraError
        When MLflow is not installed.
    UsageError
        When tracking is off.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise MissingExtraError("vizsla ui", "track", "mlflow")
    chosen = check_tracking_uri(uri) if uri else tracking_uri(home)
    if chosen is None or chosen.lower() == OFF:
        raise UsageError(
            "Tracking is off: there is nothing to show.",
            where="VIZSLA_TRACKING",
            do="unset it, or name a server or database with --tracking-uri",
        )
    if chosen.startswith(("http://", "https://", "databricks")):
        return None
    if (file := sqlite_file(chosen)) is not None and not file.exists():
        with storage(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        _make_database(chosen)
    watch(home)
    served = ["--backend-store-uri", chosen, "--default-artifact-root", artifact_root(home)]
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *served,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]


def artifact_root(home: Path) -> str:
    """Where a local database's artifacts are."""
    return (home.absolute() / "mlartifacts").as_uri()
