"""Which phase a training process is in, moment by moment. The standard library alone; a call takes about a microsecond.

At any moment the main thread is in one phase: an inner one interrupts the outer one. What belongs to no phase is left
out here, and is called initialisation, other or finalisation when it is read.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
SEGMENT = struct.Struct("<QIHBB")
"""Begin (ns of Unix time), length (us), a count, phase, flags."""
_BUFFER = SEGMENT.size * 2048
_FLUSH_NS = 1_000_000_000
_MERGE_NS = 20_000
_MOST_BYTES = 512 << 20
"""Some 30 million segments: then no more are written."""
_LONGEST_US = 2**32 - 1
CONTROL = "control.json"
"""In ``profiler-output``: what is asked of a training that runs."""


class Phase(IntEnum):
    """What a segment is spent on."""

    OTHER = 0
    INITIALIZATION = 1
    IMPORTS = 2
    WEIGHTS = 3
    COPYING = 4
    DATA = 5
    TRANSFER = 6
    FORWARD = 7
    BACKWARD = 8
    OPTIMIZER = 9
    EVALUATION = 10
    CHECKPOINT = 11
    LOGGING = 12
    FINALIZATION = 13
    COMPILE = 14
    FEATURES = 15
    HEAD = 16


COMPUTES = (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
MARK = 1
"""Flag. Of DATA: the loader begins; of FORWARD: without gradients; of BACKWARD: of a part alone
(``torch.autograd.grad``); of OPTIMIZER: no step (gradients set to zero)."""
LAST = 2
"""Flag. Of DATA: the loader had no more."""
_WHOLE = (Phase.DATA, Phase.BACKWARD)
"""What is called within these is a part of them: a transform that is a module, a file that a dataset loads, a forward
pass that a checkpointed model repeats."""


class Timeline:
    """Writes ``framework/PID.segments`` and ``framework/PID.json`` below ``output``.

    Nothing is written before a forward, backward or optimizer's phase ended: a process that only helps leaves no file.
    """

    def __init__(self, output: Path, clock: int) -> None:
        self._folder = output / "framework"
        self.clock = clock
        """Nanoseconds from the monotonic clock to Unix time."""
        self._name = f"{os.getpid()}-{clock + time.monotonic_ns()}"
        self.owner = threading.get_ident()
        self.inside = 0
        """How deep in a module's call the main thread is."""
        self.steps = 0
        self.facts: dict[str, Any] = {
            "pid": os.getpid(),
            "began_ns": clock + time.monotonic_ns(),
            "rank": int(os.environ.get("RANK", "0") or 0) if os.environ.get("RANK", "0").isdigit() else 0,
            "program": sys.argv[0] if getattr(sys, "argv", None) else "",
            "threads": 0,
        }
        self._facts_changed = True
        self._stack: list[int] = []
        self._since = 0
        self._buffer, self._at, self._flushed = bytearray(_BUFFER), 0, 0
        self._last: list[int] | None = None
        self._file = -1
        self._written = 0
        self.computes = False
        self.off = False
        self.output = output
        """``profiler-output`` of the job."""
        self.steered: Callable[[Iterator[Any]], Iterator[Any]] | None = None
        """What a loop that draws batches without a torch loader gets in their place: the same, perhaps with trials."""
        self._stages: list[list[Any]] = []
        self._has_ended = True
        os.register_at_fork(after_in_child=self._leave)
        atexit.register(self.close)

    def _leave(self) -> None:
        """A process that was forked off is no part of the training loop: a worker of a loader, for one."""
        self.off, self.owner, self._file = True, -1, -1

    @property
    def is_here(self) -> bool:
        """Whether this thread is the one that is watched."""
        return threading.get_ident() == self.owner

    def begin(self, phase: int) -> None:
        """The main thread enters a phase."""
        now = time.monotonic_ns()
        self._interrupt(now)
        self._stack.append(phase)
        self._since = now

    def _interrupt(self, now: int) -> None:
        if self._stack:  # an optimizer that calls a closure has not made its step yet
            self._put(self._stack[-1], self._since, now, MARK if self._stack[-1] == Phase.OPTIMIZER else 0)

    def end(self, flags: int = 0, count: int = 0) -> None:
        """It leaves the phase it is in."""
        if not self._stack:
            return
        now = time.monotonic_ns()
        self._put(self._stack.pop(), self._since, now, flags, count)
        self._since = now

    def unwind(self, phase: int | None = None) -> None:
        """Leave a phase whose end was not seen, as it ended by an exception; all of them without a name."""
        while self._stack and phase in (None, self._stack[-1]):
            self.end(MARK)

    @property
    def is_idle(self) -> bool:
        """Whether it is in no phase."""
        return not self._stack

    @property
    def is_whole(self) -> bool:
        """Whether it is in a phase of which all that is called within it is a part."""
        return bool(self._stack) and self._stack[-1] in _WHOLE

    def add(self, phase: int, began: int, flags: int = 0, count: int = 0) -> None:
        """A phase from ``began`` (``time.monotonic_ns``) until now, within which nothing was recorded."""
        self._interrupt(began)
        now = time.monotonic_ns()
        self._put(phase, began, now, flags, count)
        self._since = now

    def stage(self, name: str | None) -> None:
        """A part of our own work begins; None: the last one has ended. Kept in ``stages.json``."""
        now = (self.clock + time.monotonic_ns()) / 1e9
        path = self.output / "stages.json"
        if not self._stages:  # what this attempt did before in another process: fetching, installing
            with contextlib.suppress(OSError, ValueError, KeyError):
                known = json.loads(path.read_text())
                self._stages = known["stages"] if known["clock"] == self.clock else []
        elif not self._has_ended:
            self._stages[-1][2] = now
        self._has_ended = name is None
        if name is not None:
            self._stages.append([name, now, now])
        with contextlib.suppress(OSError):
            if self.output.parents[2].joinpath("state.json").exists():
                self.output.mkdir(parents=True, exist_ok=True)
                half = self.output / ".stages.tmp"
                half.write_text(json.dumps({"clock": self.clock, "stages": self._stages}))
                half.replace(path)

    def tell(self, **facts: Any) -> None:
        """Keep facts about the process beside its segments."""
        self.facts.update(facts)
        self._facts_changed = True

    def _put(self, phase: int, began: int, ended: int, flags: int = 0, count: int = 0) -> None:
        last = self._last
        if last is not None:
            if last[2] == phase and last[3] == flags and began - last[1] < _MERGE_NS:
                # A model and its loss see the same pictures; values that are read add up.
                last[1], last[4] = ended, max(last[4], count) if phase == Phase.FORWARD else last[4] + count
                return
            self._pack(last)
        self._last = [began, ended, phase, flags, count]
        if phase in COMPUTES:
            self.computes = True
        if ended - self._flushed > _FLUSH_NS:
            self.flush()

    def _pack(self, segment: list[int]) -> None:
        began, ended, phase, flags, count = segment
        if self._at == _BUFFER:
            self.flush()
        micro = min((ended - began + 500) // 1000, _LONGEST_US)
        SEGMENT.pack_into(self._buffer, self._at, began + self.clock, micro, min(count, 65535), phase, flags)
        self._at += SEGMENT.size

    def flush(self) -> None:
        """Write what waits. A full disk, or a job that was removed, ends the recording and nothing else."""
        self._flushed = time.monotonic_ns()
        if self.off or not self.computes:
            if self._at == _BUFFER:  # a long run that never trains: the first segments are kept
                self._at -= SEGMENT.size
            return
        try:
            if self._file < 0:
                if not self._folder.parents[3].joinpath("state.json").exists():
                    raise FileNotFoundError(self._folder)
                self._folder.mkdir(parents=True, exist_ok=True)
                name = self._folder / f"{self._name}.segments"
                self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            if self._written < _MOST_BYTES and self._at:
                os.write(self._file, memoryview(self._buffer)[: self._at])
                self._written += self._at
            self._at = 0
            if self._facts_changed:
                self._facts_changed = False
                half = self._folder / f".{self._name}.tmp"
                half.write_text(json.dumps(self.facts, default=str))
                half.replace(self._folder / f"{self._name}.json")
        except OSError as error:
            self.off, self._at = True, 0
            print(f"[vizsla] the profiler's timeline is off: {error}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Write what waits; nothing more is recorded."""
        if self.off or self._file == -2:
            return
        if not self._has_ended:
            self.stage(None)
        self.unwind()
        if self._last is not None:
            self._pack(self._last)
            self._last = None
        self.tell(ended_ns=self.clock + time.monotonic_ns())
        self.flush()
        if self._file >= 0:
            os.close(self._file)
        self.off, self._file, self.owner = True, -2, -1
        atexit.unregister(self.close)


current: Timeline | None = None
"""Of this process, while it is profiled."""


def announce(stage: str) -> None:
    """A part of our own work begins in this process; nothing where it is not profiled."""
    if current is not None and current.is_here:
        current.stage(stage)


def waiting_for(batches: Iterator[_T]) -> Iterator[_T]:
    """Give batches on; the time that each takes to come is that of waiting for data, where this process is profiled."""
    if current is None:
        yield from batches
        return
    batches = iter(batches)

    def waited() -> Iterator[_T]:
        while True:
            with phase("data"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    yield from waited() if current.steered is None else current.steered(waited())


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Call what happens in the block by the name of a phase, in a job that is profiled; nothing elsewhere.

    Examples
    --------
    >>> with phase("data"):
    ...     batch = [1, 2, 3]  # from a loader of one's own
    """
    timeline, number = current, Phase[name.upper()]
    if timeline is None or not timeline.is_here:
        yield
        return
    timeline.begin(number)
    try:
        yield
    finally:
        timeline.end()
