"""How an attempt ended, in words."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from vizsla.jobs.states import Status
from vizsla.jobs.supervisor import Ended

_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):", re.MULTILINE)
_PYTHON_ERROR = re.compile(r"^(\w+(?:\.\w+)*(?:Error|Exception|Interrupt|Exit|Warning)\b.*)$", re.MULTILINE)
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


@dataclass(frozen=True)
class Outcome:
    """The state that follows. ``failure`` is the text for ``output/failure``."""

    status: Status
    reason: str | None
    failure: str | None


def outcome(ended: Ended, *, wrote: str | None = None) -> Outcome:
    """The outcome of an attempt.

    Parameters
    ----------
    wrote:
        What the job itself wrote to ``output/failure``, which SageMaker takes for the reason.
    """
    if ended.why == "stopped" and ended.code != 0:
        forced = "; it did not end on SIGTERM and was killed" if ended.killed else ""
        return Outcome("Stopped", f"stopped on request after {ended.seconds:.0f} s{forced}", None)
    if ended.why == "limit":
        forced = "; it did not end on SIGTERM and was killed" if ended.killed else ""
        reason = f"it ran longer than StoppingCondition.MaxRuntimeInSeconds allows ({ended.seconds:.0f} s){forced}"
        return Outcome("Stopped", reason, None)
    if ended.code != 0:
        first = _cause(ended, wrote)
        rest = wrote.strip() if wrote and wrote.strip() else _last_traceback(ended.tail)
        return Outcome("Failed", first, first + ("\n\n" + rest if rest and rest != first else "") + "\n")
    if ended.pack_error:
        reason = f"the model could not be packed: {ended.pack_error}"
        return Outcome("Failed", reason, reason + "\n")
    if ended.why == "stopped":
        return Outcome("Stopped", "stopped on request; it ended in good order", None)
    return Outcome("Completed", None if ended.packed else NO_MODEL, None)


NO_MODEL = (
    "it wrote no model: the folder that SM_MODEL_DIR names is empty "
    "(save the model there to have it kept and packed as model.tar.gz)"
)


def _cause(ended: Ended, wrote: str | None) -> str:
    """One line: what happened, and the exit code."""
    code = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
    if ended.out_of_memory:
        return f"it ran out of memory and the system killed it ({code}); use a smaller batch size or fewer workers"
    if any(words in ended.tail for words in _DISK) or (ended.disk_full and ended.code in (1, -signal.SIGBUS)):
        return f"the disk was full ({code}); free some space and resume the job"
    if any(words in ended.tail for words in _MEMORY):
        return f"it ran out of memory ({code}): {_error_line(ended.tail)}; use a smaller batch size or fewer workers"
    if wrote and wrote.strip():
        return f"{wrote.strip().splitlines()[0]} ({code})"
    if ended.code < 0:
        return _SIGNALS.get(signal.Signals(-ended.code), f"it was ended by {signal.Signals(-ended.code).name}")
    line = _error_line(ended.tail)
    return f"{line} ({code})" if line else f"it ended with {code} and said nothing"


def _error_line(tail: str) -> str:
    found = _PYTHON_ERROR.findall(_last_traceback(tail)) if _TRACEBACK.search(tail) else []
    lines = [line for line in tail.splitlines() if line.strip()]
    line: str = found[-1] if found else (lines[-1] if lines else "")
    return line.strip()[:300]


def _last_traceback(tail: str) -> str:
    starts = [found.start() for found in _TRACEBACK.finditer(tail)]
    return "\n".join(tail[starts[-1] if starts else 0 :].strip().splitlines()[-_FEW_LINES:])
