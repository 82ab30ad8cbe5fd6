"""Values over time: ``metrics.jsonl``, one line a value, appended while the job runs."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import re
import sys
import threading
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from vizsla.errors import StorageError, UsageError
from vizsla.files import storage

_QUIET = 0.02
"""Seconds since the last write after which a value is written at once; a faster stream is written in blocks."""
_ROWS = 100
"""Values that are formatted in one call."""
_FAST = 100
"""Values in that time from which on blocks are five times as long: a write costs as much as 200 values."""


_NAME = re.compile(rb'"name":("(?:[^"\\]|\\.)*"),')
"""The name of a value as every line has it."""
_BLOCK_BYTES = 16 << 20

_Number = TypeVar("_Number", float, int)
Row = tuple[float, str, float, int | None, float | None]
"""Time, name, value, step, epoch."""


@dataclass(frozen=True)
class Metric:
    """One value of one name."""

    name: str
    value: float
    step: int | None = None
    epoch: float | None = None
    time: float = 0.0
    """Seconds since 1970."""


class MetricWriter:
    """Appends values to ``metrics.jsonl``; cheap enough for every step of a fast loop.

    A value that comes alone is in the file when :meth:`append` returns. When values come faster than one in 20 ms, they
    are written by a thread, so that the loop does not wait: at most 20 ms later, and 100 ms when there are more than
    5,000 a second. In a forked child it goes on with what the child appends; what waited in the parent is the parent's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":  # the writer before was killed within a line
                os.write(self._file, b"\n")
        _OPEN.add(self)

    def _forget(self) -> None:
        self._waiting: list[Row] = []
        self._written = 0.0
        self._quiet = _QUIET
        self._lock = threading.Lock()
        self._wake: SimpleQueue[None] = SimpleQueue()  # an event's lock would stop a signal handler that logs for ever
        self._awake = False  # the thread is about to write
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._unwritten = b""

    def append(self, name: str, value: float, step: int | None = None, epoch: float | None = None) -> None:
        """Add one value.

        Raises
        ------
        UsageError
            When ``value`` is not a number.
        StorageError
            When the disk is full; also for a value appended shortly before.
        """
        if value.__class__ is not float:
            value = _number(f"The value of metric {name!r}", value, float)
        if step is not None and step.__class__ is not int:
            step = _number(f"The step of metric {name!r}", step, int)
        if epoch is not None and epoch.__class__ is not float:
            epoch = _number(f"The epoch of metric {name!r}", epoch, float)
        time = clock.time()
        self._waiting.append((time, name, value, step, epoch))
        if self._awake and self._error is None:
            return
        if (time - self._written > self._quiet or self._error is not None) and self._lock.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._lock.release()
            return
        # or somebody writes just now, perhaps this thread itself, below a signal handler: then the thread takes it
        if self._thread is None:
            _flush_at_the_end_of_a_child()
            self._thread = thread = threading.Thread(target=_write_blocks, args=(self, self._wake), daemon=True)
            thread.start()  # not the attribute: two threads may be here at once, each with its own
        self._awake = True
        self._wake.put(None)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        error, self._error = self._error, None
        if error is not None and not isinstance(error, StorageError):  # of a full disk all is here still: tried again
            raise error
        if not self._waiting and not self._unwritten:
            return
        block = self._waiting[:]
        del self._waiting[: len(block)]  # not a swap of lists: the loop may append at the same moment
        self._unwritten += _lines(block)
        self._written = clock.time()
        with storage(self.path):
            while self._unwritten:  # a nearly full disk takes a part; the rest stays for the next time
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]

    def close(self) -> None:
        """Write what waits and close the file."""
        if self._file >= 0:
            try:
                self.flush()
            finally:
                os.close(self._file)
                self._file = -1
                _OPEN.discard(self)
                self._wake.put(None)


_OPEN: set[MetricWriter] = set()


@atexit.register
def _end() -> None:
    for writer in list(_OPEN):
        writer._quiet, writer._awake = -1.0, False  # what other exit handlers append is written at once
        writer.flush()


def flush_all() -> None:
    """Write what waits in every writer of this process."""
    for writer in list(_OPEN):
        writer.flush()


_finalizer_of: int | None = None


def _flush_at_the_end_of_a_child() -> None:
    """Processes of multiprocessing end without atexit: they run finalizers of their own."""
    global _finalizer_of
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finalizer_of != os.getpid():
        _finalizer_of = os.getpid()
        util.Finalize(None, flush_all, exitpriority=0)


def _forget_in_child() -> None:
    for writer in list(_OPEN):
        writer._forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _write_blocks(writer: MetricWriter, wake: SimpleQueue[None]) -> None:
    while True:
        wake.get()
        clock.sleep(_QUIET)
        if len(writer._waiting) >= _FAST:
            clock.sleep(4 * _QUIET)
        if writer._file < 0:
            return
        writer._awake = False  # before the flush: a value that comes during it asks for the next
        try:
            writer.flush()
        except BaseException as error:  # noqa: BLE001 - told to the loop at its next append
            writer._error = error


def _number(what: str, value: Any, kind: type[_Number]) -> _Number:
    try:
        return kind(value)  # numpy and torch scalars know how
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{what} is not a number: {value!r:.80}.",
            allowed="a float, an int, or an array or tensor of one element",
        ) from error


def _encoder() -> Callable[[Any], bytes] | None:
    try:
        import orjson
    except ModuleNotFoundError:  # the supervisor of a job has the standard library alone, to start at once
        return None
    return orjson.dumps


_ENCODE = _encoder()


def _lines(rows: list[Row]) -> bytes:
    """A line of JSON for each; a few at a time, as what lies in the processor's cache is the training loop's."""
    if _ENCODE is None:
        return b"".join([_line(*row) for row in rows])
    return b"".join([_block(_ENCODE, rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS)])


def _block(encode: Callable[[Any], bytes], rows: list[Row]) -> bytes:
    """One call of a fast encoder: each line by itself takes ten times as long, all of it in a training loop's way.

    Where it does not give one line for each row, they are written by themselves: for a row without step or with epoch,
    nan and infinity, names that look like the border of two lines or are no Unicode, a step beyond 64 bits.
    """
    usual = [
        {"time": time, "name": name, "value": value, "step": step}
        for time, name, value, step, epoch in rows
        if epoch is None and step is not None and value - value == 0
    ]
    if len(usual) == len(rows):
        with contextlib.suppress(TypeError):  # every error of the encoder is one
            lines = encode(usual)[1:-1].replace(b"},{", b"}\n{") + b"\n"
            if lines.count(b"\n") == len(rows):
                return lines
    return b"".join([_line(*row) for row in rows])


def _line(time: float, name: object, value: float, step: int | None, epoch: float | None) -> bytes:
    number = repr(value) if math.isfinite(value) else f'"{value}"'  # JSON has no nan and no infinity
    more = ("" if step is None else f',"step":{step}') + ("" if epoch is None else f',"epoch":{epoch!r}')
    return f'{{"time":{time!r},"name":{json.dumps(str(name))},"value":{number}{more}}}\n'.encode()


def parse_line(line: str | bytes) -> Metric | None:
    """One line of ``metrics.jsonl``, or None where it is not one."""
    try:
        fields = json.loads(line)
        return Metric(
            name=str(fields["name"]),
            value=float(fields["value"]),
            step=None if fields.get("step") is None else int(fields["step"]),
            epoch=None if fields.get("epoch") is None else float(fields["epoch"]),
            time=float(fields.get("time", 0.0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def read_metrics(path: Path) -> Iterator[Metric]:
    """The values in ``metrics.jsonl`` in the order they were written; a line cut off by a kill is left out."""
    for block in _blocks(path):
        for line in block.split(b"\n"):
            metric = parse_line(line)
            if metric is not None:
                yield metric


def last_metrics(path: Path) -> dict[str, Metric]:
    """The last value of each name in ``metrics.jsonl``, in the order in which the names came first.

    Only these are parsed: a file of four million lines takes a second instead of a quarter of a minute.
    """
    metrics: dict[str, Metric] = {}
    for block in _blocks(path):
        places: dict[str, int] = {}  # one name may be spelt in two ways
        for name in dict.fromkeys(_NAME.findall(block)):
            at, metric = len(block), None
            while metric is None and (at := block.rfind(b'"name":' + name + b",", 0, at)) >= 0:
                end = block.find(b"\n", at)
                metric = parse_line(block[block.rfind(b"\n", 0, at) + 1 : end if end > 0 else len(block)])
            if metric is not None and at > places.get(metric.name, -1):
                places[metric.name], metrics[metric.name] = at, metric
    return metrics


def _blocks(path: Path) -> Iterator[bytes]:
    """The lines of a file, some 16 MiB at a time."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; the missing file is the usual case
    except FileNotFoundError:
        return
    with file:
        begun = b""
        while data := file.read(_BLOCK_BYTES):
            whole, end, begun = (begun + data).rpartition(b"\n")
            if end:
                yield whole
        if begun:
            yield begun
