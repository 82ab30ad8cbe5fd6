"""One attempt at a job on this machine: started, watched, stopped and concluded by whoever holds the job's lock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from vizsla.errors import StorageError
from vizsla.files import write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import Command, Exit, Processes, folder_id, load
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.lock import take
from vizsla.jobs.logs import join_tails
from vizsla.jobs.outcome import NO_MODEL, Outcome, outcome
from vizsla.jobs.pack import ARCHIVE
from vizsla.jobs.processes import Process, boot_id, processes_with, signal_group
from vizsla.jobs.states import State
from vizsla.version import PACKAGE

_BOOT = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
    "from vizsla.jobs.supervisor import main; main(Path(sys.argv[2]))"
)
_LAST_WORDS = 0.2
_KILL_TURNS = 5
_LONGEST_FAILURE = 4 << 10
RESUME = "{resume}"
"""Stands for what to type in the words for a job that was lost."""
LOST = f"its process was killed and left no word; {RESUME} goes on from what was finished"
NEVER_STARTED = f"its controller ended before it was started; {RESUME} starts it"
_LONGEST_GRACE = 1e9


def start(job: JobDirectory, command: Command) -> subprocess.Popen[bytes]:
    """Start an attempt: the supervisor, which starts the job. Only the holder of the lock does this."""

    def write_down(process: Process) -> None:
        job.set_state("InProgress", pid=process.pid, pid_started=process.started)

    return launch(job, command, write_down)


def launch(
    job: JobDirectory, command: Command, write_down: Callable[[Process], object] = lambda process: None
) -> subprocess.Popen[bytes]:
    """Start the supervisor of an attempt; it begins when ``write_down`` has been told its process."""
    clear(job)
    write_json(job.run / "command.json", asdict(command))
    with open(job.run / "supervisor.log", "ab") as log:
        # -I -S: nothing but the standard library and vizsla, so that it starts in milliseconds.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, str(PACKAGE.parent), str(job.path)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=command.slots,
        )
    facts = Process.of(process.pid)
    assert process.stdin is not None
    # It waits for a byte, so that nothing runs that is not written down: not on a full disk, not after kill -9 here.
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as gate:
            write_down(facts)
            gate.write(b".")
    except StorageError:
        process.wait()
        raise
    return process


def clear(job: JobDirectory) -> None:
    """Put away what an earlier attempt left: how it ended, what it packed or had half packed when it was killed."""
    for name in ("exit.json", "process.json", "command.json"):  # not stop.json: somebody may be asking just now
        (job.run / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a folder of that name
        job.failure.unlink()
    with contextlib.suppress(OSError):
        os.replace(job.output / ARCHIVE, job.output / f"previous.{ARCHIVE}")
    for half in job.output.glob(f".{ARCHIVE}.*.tmp"):
        half.unlink(missing_ok=True)
    join_tails(job.logs, job.run)


def running(job: JobDirectory, attempt: int) -> Processes | None:
    """The processes of this attempt, when they were started, in this run of the system and for this very directory."""
    processes = _written(job, attempt)
    return processes if processes is not None and _is_of(job, processes) else None


def still_runs(job: JobDirectory) -> bool:
    """Whether the supervisor of any attempt is there; for a job whose state cannot be read."""
    processes = _written(job)
    return processes is not None and _is_of(job, processes) and _supervisor(processes).alive


def _written(job: JobDirectory, attempt: int | None = None) -> Processes | None:
    fields = load(job.run / "process.json")
    return Processes(**fields) if fields and attempt in (None, fields.get("attempt")) else None


def _is_of(job: JobDirectory, processes: Processes) -> bool:
    return processes.boot in (None, boot_id()) and processes.folder in (None, folder_id(job.run))


def _supervisor(processes: Processes) -> Process:
    return Process(processes.supervisor, processes.supervisor_started)


def ended(job: JobDirectory, attempt: int) -> Exit | None:
    """How this attempt ended, when its supervisor told."""
    fields = load(job.run / "exit.json")
    return Exit(**fields) if fields and fields.get("attempt") == attempt else None


def is_alive(job: JobDirectory, state: State) -> bool:
    """Whether the supervisor of this attempt is there. For the holder of the lock: a job within a process has that."""
    processes = _written(job, state.attempts)
    if processes is not None:
        return _is_of(job, processes) and _supervisor(processes).alive
    if state.pid is None or not (job.run / "command.json").exists():
        return False
    return Process(state.pid, state.pid_started).alive  # it is just starting


def request_stop(job: JobDirectory, grace: float, reason: str | None) -> None:
    """Ask the attempt to end; returns at once."""
    full, grace = None, min(_LONGEST_GRACE, max(0.0, grace))
    try:
        note_stop(job, reason, grace)
    except StorageError as error:  # the very moment to stop a job: the signal goes out, with the grace of its command
        full = error
    # Only now: a supervisor writes down its number first, and then looks whether there is a stop.json.
    state = job.state
    processes = running(job, state.attempts)
    if full is not None and processes is None:
        raise full
    if processes is not None:
        _supervisor(processes).signal(signal.SIGTERM)
    elif state.pid is not None and not (job.run / "command.json").exists():  # it runs within that process
        Process(state.pid, state.pid_started).signal(signal.SIGTERM)


def note_stop(job: JobDirectory, reason: str | None, grace: float = 0.0) -> None:
    """Write down that somebody asked the job to stop, and why."""
    write_json(job.run / "stop.json", {"grace": grace, "reason": reason})


def kill(job: JobDirectory, processes: Processes) -> None:
    """End what an attempt left running: its own processes by their identity, never a number that was given out again.

    Those that made a session of their own are found by ``VIZSLA_JOB_DIR``, which all of a job's processes carry.
    """
    if processes.group_started is not None and Process(processes.group, processes.group_started).alive:
        signal_group(processes.group, signal.SIGKILL)
    _kill_marked(job)


def _kill_marked(job: JobDirectory) -> None:
    for _ in range(_KILL_TURNS):  # one may fork while the others are looked for
        pids = processes_with("VIZSLA_JOB_DIR", str(job.path.absolute()))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            return


def end_by_force(job: JobDirectory) -> None:
    """Kill whatever stands for the attempt, and what it left running; also where the job's files are gone."""
    if not job.is_there:
        _kill_marked(job)
        return
    state = job.state
    processes = running(job, state.attempts)
    if processes is not None:
        _supervisor(processes).signal(signal.SIGKILL)
        kill(job, processes)
    elif state.pid is not None:
        Process(state.pid, state.pid_started).signal(signal.SIGKILL)


def forget_stop(job: JobDirectory) -> None:
    """A new attempt is not stopped by what was asked of the last."""
    (job.run / "stop.json").unlink(missing_ok=True)


def stop_reason(job: JobDirectory) -> str | None:
    """Why somebody asked the job to stop: text, empty where no reason was given; None when nobody asked."""
    document = load(job.run / "stop.json")
    return None if document is None else str(document.get("reason") or "")


def conclude(job: JobDirectory, state: State) -> State | None:
    """Write how the attempt ended; None while it runs. Only the holder of the lock does this."""
    end = ended(job, state.attempts)
    if end is None and is_alive(job, state):
        if state.status == "InProgress" and (reason := stop_reason(job)) is not None:  # by another process, it may be
            with contextlib.suppress(StorageError):
                job.set_state("Stopping", reason or None)
        return None
    end = end or ended(job, state.attempts)
    if end is None and state.status != "Pending":
        time.sleep(_LAST_WORDS)  # the supervisor may have been killed between its last write and now
        end = ended(job, state.attempts)
    processes = running(job, state.attempts)
    if end is None and processes is not None:
        kill(job, processes)  # what a killed supervisor left running; one that told has ended all of it itself
    return write_end(job, state, end, NEVER_STARTED if state.status == "Pending" else LOST)


def write_end(job: JobDirectory, state: State, end: Exit | None, lost: str) -> State:
    """Write how an attempt ended; ``lost`` says why, where nothing is left that tells. Only the holder of the lock does
    this."""
    join_tails(job.logs, job.run)
    wrote = None
    with contextlib.suppress(OSError), open(job.failure, "rb") as file:  # a folder of that name, or none
        wrote = file.read(_LONGEST_FAILURE).decode(errors="replace")
    reason = stop_reason(job)
    if end is not None:
        result = outcome(end, wrote=wrote)
        code = end.code
        if result.reason == NO_MODEL and not kind_of(job.kind).leaves_model:
            result = replace(result, reason=None)
        if result.status == "Stopped" and reason and end.why == "stopped":
            result = Outcome("Stopped", f"{reason} ({result.reason})", None)
    else:
        words = lost.replace(RESUME, f"`{job.resume_command}`")
        result, code = Outcome("Failed", words, words + "\n"), None
        if reason is not None:
            result = Outcome("Stopped", reason or "stopped on request", None)
    if state.status == "Stopping" and result.status == "Failed":
        result = Outcome("Stopped", f"stopped on request; {result.reason}", None)
    facts = {"exit_code": code, "missing_metrics": {} if end is None else end.missing_metrics}
    try:
        if result.failure and wrote is None:
            with contextlib.suppress(StorageError):  # its script may have made a folder of that name
                job.write_failure(result.failure)
        return job.set_state(result.status, result.reason, **facts)
    except StorageError:
        # A disk that stays full: tell it now, write it when the job is looked at again.
        return state.then(result.status, result.reason, **facts)


def settle(job: JobDirectory, conclude: Callable[[JobDirectory, State], State | None] = conclude) -> State:
    """The job's state, after writing the end of an attempt whose controller is gone."""
    state = job.state
    if state.has_ended:
        return state
    try:
        lock = take(job.path)
    except StorageError:
        lock = None  # another user's: theirs to mind
    if lock is None:
        return state  # its controller minds it
    try:
        state = job.state
        if state.has_ended:
            return state
        return conclude(job, state) or job.state  # it may have begun meanwhile
    finally:
        lock.release()
