"""How an attempt ended, in words."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from vizsla.jobs.handover import Exit
from vizsla.jobs.states import Status

_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
_SIGNALS = {
    signal.SIGKILL: "it was killed (SIGKILL), by a person or by the system",
    signal.SIGSEGV: "it crashed: a segmentation fault in native code (SIGSEGV)",
    signal.SIGABRT: "it crashed: native code gave up (SIGABRT)",
    signal.SIGBUS: "it crashed: a file that it had mapped is gone or the disk is full (SIGBUS)",
    signal.SIGILL: "it crashed: an instruction that this processor does not have (SIGILL)",
    signal.SIGFPE: "it crashed: an arithmetic fault in native code (SIGFPE)",
    signal.SIGTERM: "it was asked to end (SIGTERM) by someone else than its controller",
}
_MEMORY = ("MemoryError", "OutOfMemoryError", "out of memory", "Cannot allocate memory", "std::bad_alloc")
_DISK = ("No space left on device", "Disk quota exceeded")
_FEW_LINES = 40
_LONGEST = 300


@dataclass(frozen=True)
class Outcome:
    """The state that follows. ``failure`` is the text for ``output/failure``."""

    status: Status
    reason: str | None
    failure: str | None


def outcome(end: Exit, *, wrote: str | None = None) -> Outcome:
    """The outcome of an attempt.

    Parameters
    ----------
    wrote:
        What the job itself wrote to ``output/failure``, which SageMaker takes for the reason.
    """
    unpacked = f"; its model could not be packed: {end.pack_error}" if end.pack_error else ""
    if end.why == "stopped" and end.code != 0:
        forced = "; it did not end on SIGTERM and was killed" if end.killed else ""
        return Outcome("Stopped", f"stopped on request after {end.seconds:.0f} s{forced}", None)
    if end.why == "limit":
        forced = "; it did not end on SIGTERM and was killed" if end.killed else ""
        reason = f"it ran longer than StoppingCondition.MaxRuntimeInSeconds allows ({end.limit:g} s){forced}"
        return Outcome("Stopped", reason + unpacked, None)
    if end.code != 0:
        first = _cause(end, wrote)
        rest = wrote.strip() if wrote and wrote.strip() else _last_traceback(end.tail)
        return Outcome("Failed", first, first + ("\n\n" + rest if rest and rest != first else "") + "\n")
    if end.pack_error and end.why == "exited":
        reason = f"the model could not be packed: {end.pack_error}"
        return Outcome("Failed", reason, reason + "\n")
    if end.why == "stopped":
        return Outcome("Stopped", f"stopped on request; it ended in good order{unpacked}", None)
    if end.left_out:
        kinds = "links to nothing or in a circle, sockets, pipes"
        return Outcome("Completed", f"left out of model.tar.gz ({kinds}): {', '.join(end.left_out)}", None)
    return Outcome("Completed", None if end.packed else NO_MODEL, None)


NO_MODEL = (
    "it wrote no model: the folder that SM_MODEL_DIR names is empty "
    "(save the model there to have it kept and packed as model.tar.gz)"
)


def _cause(end: Exit, wrote: str | None) -> str:
    """One line: what happened, and the exit code. What the job itself wrote comes before what is guessed here."""
    code = f"exit code {end.code}" if end.code > 0 else f"signal {-end.code}"
    if wrote and wrote.strip():
        return f"{wrote.strip().splitlines()[0]} ({code})"
    if end.out_of_memory:
        return f"it ran out of memory and the system killed it ({code}); use a smaller batch size or fewer workers"
    error, last = _exception_line(end.tail), _last_line(end.tail)
    # A log speaks of memory and disks often; only the words that the process ended with say why.
    final = error if error and (end.code == 1 or error == last) else ""
    if any(words in final or last.endswith(words) for words in _DISK) or (
        end.disk_full and end.code in (1, -signal.SIGBUS)
    ):
        return f"the disk was full ({code}); free some space and resume the job"
    last_words = last if end.code == -signal.SIGABRT else final  # native code that gives up says why at last
    if any(words in last_words for words in _MEMORY):
        return f"it ran out of memory ({code}): {last_words}; use a smaller batch size or fewer workers"
    if end.code < 0:
        try:
            ended_by = signal.Signals(-end.code)
        except ValueError:  # real-time signals have no name
            return f"it was ended by signal {-end.code}"
        return _SIGNALS.get(ended_by, f"it was ended by {ended_by.name}")
    if final:
        return f"{final} ({code})"
    return f"{code}; last line: {last}" if last else f"it ended with {code} and said nothing"


def _exception_line(tail: str) -> str:
    """The line of the exception in the last traceback: the first one after it that is not indented."""
    if not _TRACEBACK.search(tail):
        return ""
    lines = _last_traceback(tail).splitlines()[1:]
    return next((line.strip()[:_LONGEST] for line in lines if line.strip() and not line[0].isspace()), "")


def _last_line(tail: str) -> str:
    return next((line.strip()[:_LONGEST] for line in reversed(tail.splitlines()) if line.strip()), "")


def _last_traceback(tail: str) -> str:
    starts = [match.start() for match in _TRACEBACK.finditer(tail)]
    return "\n".join(tail[starts[-1] if starts else 0 :].strip().splitlines()[-_FEW_LINES:])
