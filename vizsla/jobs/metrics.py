"""Values over time: ``metrics.jsonl``, one line a value, appended while the job runs."""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time as clock
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vizsla.errors import UsageError
from vizsla.files import storage

_QUIET = 0.02
"""Seconds since the last write after which a value is written at once; a faster stream is written in blocks."""


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
    are formatted and written by a thread at most 20 ms later, so that the loop does not wait. In a forked child it goes
    on with what the child appends; what waited in the parent is the parent's.
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
        self._waiting: deque[tuple[str, float, int | None, float | None, float]] = deque()
        self._written = 0.0
        self._lock = threading.Lock()
        self._wake = threading.Event()
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
        if type(value) is not float:
            value = _number(name, value)
        time = clock.time()
        self._waiting.append((name, value, step, epoch, time))
        if self._wake.is_set() and self._error is None:
            return  # the thread is about to write
        if time - self._written > _QUIET or self._error is not None:
            self.flush()
            return
        if self._thread is None:
            _flush_at_the_end_of_a_child()
            self._thread = threading.Thread(target=_write_blocks, args=(weakref.ref(self), self._wake), daemon=True)
            self._thread.start()
        self._wake.set()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            error, self._error = self._error, None
            if error is not None:
                raise error
            if not self._waiting and not self._unwritten:
                return
            take = self._waiting.popleft  # not a swap of lists: the loop may append at the same moment
            data = "".join([_line(*take()) for _ in range(len(self._waiting))]).encode()
            self._unwritten += data
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
                self._wake.set()


_OPEN: weakref.WeakSet[MetricWriter] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for writer in list(_OPEN):
        writer.close()


def _flush_all() -> None:
    for writer in list(_OPEN):
        writer.flush()


_finalizer_of: int | None = None


def _flush_at_the_end_of_a_child() -> None:
    """Processes of multiprocessing end without atexit: they run finalizers of their own."""
    global _finalizer_of
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _finalizer_of != os.getpid():
        _finalizer_of = os.getpid()
        util.Finalize(None, _flush_all, exitpriority=0)


def _forget_in_child() -> None:
    for writer in list(_OPEN):
        writer._forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _write_blocks(writer_of: weakref.ref[MetricWriter], wake: threading.Event) -> None:
    while True:
        wake.wait()
        clock.sleep(_QUIET)
        wake.clear()
        writer = writer_of()
        if writer is None or writer._file < 0:
            return
        try:
            writer.flush()
        except BaseException as error:  # noqa: BLE001 - told to the loop at its next append
            writer._error = error
        del writer


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # numpy and torch scalars know how
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The value of metric {name!r} is not a number: {value!r:.80}.",
            allowed="a float, an int, or an array or tensor of one element",
        ) from error


_USUAL = '{"time": %.3f, "name": %s, "value": %r, "step": %d}\n'


def _line(name: str, value: float, step: int | None, epoch: float | None, time: float) -> str:
    if epoch is None and step.__class__ is int and value - value == 0:
        # The usual case on the shortest path: this runs beside a training loop.
        return _USUAL % (time, _NAMES.get(name) or _quoted(name), value, step)
    text = f"{value!r}" if value - value == 0 else f'"{value}"'  # JSON has no nan and no infinity
    line = f'{{"time": {time:.3f}, "name": {_quoted(name)}, "value": {text}'
    if step is not None:
        line += f', "step": {int(step)}'
    if epoch is not None:
        line += f', "epoch": {epoch:.10g}'
    return line + "}\n"


_NAMES: dict[str, str] = {}


def _quoted(name: str) -> str:
    text = _NAMES.get(name)
    if text is None:
        text = json.dumps(str(name))
        if len(_NAMES) < 10_000:
            _NAMES[name] = text
    return text


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
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def read_metrics(path: Path) -> Iterator[Metric]:
    """The values in ``metrics.jsonl`` in the order they were written; a line cut off by a kill is left out."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; the missing file is the usual case
    except FileNotFoundError:
        return
    with file:
        for line in file:
            metric = parse_line(line)
            if metric is not None:
                yield metric
