"""Writing a store from a thread of its own, so that the loop that is watched does not wait."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from vizsla.debugging.statistics import finish
from vizsla.debugging.store import (
    END,
    FORMAT,
    INDEX,
    LOCK,
    STATISTICS,
    TENSORS,
    Row,
    schema,
    segments,
    size_of,
    table_of,
    tensor_file,
)
from vizsla.files import write_json

_SECONDS = 1.0
_MERGED = 32
"""Files of a level that become one of the next."""
_WAITING_BYTES = 256_000_000
"""Tensors that wait to be written: beyond, a step is skipped and counted; one always may."""
_ROWS = 4096
DISK_BYTES = 2 << 30


class Pending(NamedTuple):
    """A row whose numbers may still lie on a device. ``numbers`` is a tensor (6,), see
    :func:`vizsla.debugging.statistics.numbers`, a place in a :class:`vizsla.debugging.statistics.Together`, or a float
    for a scalar. These and ``values``, a tensor, may still be to be reckoned: a function that does."""

    step: int
    mode: str
    mode_step: int
    name: str
    collection: str
    time: float
    n: int
    numbers: Any
    shape: str
    chosen: bool
    raw: bool
    prod: Any = None
    values: Any = None


def bytes_of(tensors: dict[str, Any]) -> int:
    """What some tensors take in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class StoreWriter:
    """Takes rows and tensors, and writes them.

    Parameters
    ----------
    disk_bytes:
        Most that the kept tensors take. When it is reached, every second step's are removed, and from then on only
        every second step is kept.

    Raises
    ------
    OSError
        When the folder cannot be written.
    BlockingIOError
        When another hook writes there.
    """

    def __init__(self, folder: Path, worker: str = "worker_0", disk_bytes: int = DISK_BYTES) -> None:
        self.folder, self.worker, self._disk_bytes = folder, worker, disk_bytes
        for part in (folder, folder / STATISTICS):
            part.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise
        (folder / END).unlink(missing_ok=True)
        found = segments(folder)
        self._next = int(found[-1].stem.split("-")[2]) + 1 if found else 0
        self.error: BaseException | None = None
        self.skipped = 0
        """Steps whose tensors were not kept, as the disk was too slow for them."""
        self._keep_every = 1
        self._kept = 0
        self._tensor_bytes = size_of(folder / TENSORS)
        self._facts: dict[str, Any] | None = None
        self._waiting_bytes, self._count = 0, threading.Lock()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="vizsla-debug", daemon=True)
        self._thread.start()

    def append(self, rows: list[Pending]) -> None:
        """Add rows."""
        self._queue.put(rows)

    def keep(self, step: int, tensors: dict[str, Any]) -> None:
        """Keep the tensors of a step; they must not change any more."""
        with self._count:
            if self._waiting_bytes and self._waiting_bytes + bytes_of(tensors) > _WAITING_BYTES:
                self.skipped += 1
                return
            self._waiting_bytes += bytes_of(tensors)
        self._queue.put((step, tensors))

    def facts(self, values: dict[str, Any]) -> None:
        """Write what is said once anew; at the next write."""
        self._queue.put(values)

    def flush(self) -> None:
        """Wait until all so far is on disk."""
        done = threading.Event()
        self._queue.put(done)
        done.wait(30)

    def close(self) -> None:
        """Write what waits and say that nothing more will come."""
        self._queue.put(None)
        self._thread.join(60)
        os.close(self._lock)

    def _run(self) -> None:
        rows: list[Pending] = []
        due = 0.0
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()) if rows else None)
            except queue.Empty:
                item = False
            try:
                if isinstance(item, list):
                    rows += item
                    due = due or time.monotonic() + _SECONDS
                elif isinstance(item, tuple):
                    self._write_tensors(*item)
                elif isinstance(item, dict):
                    self._facts = item
                ends = item is None or isinstance(item, threading.Event)
                if (rows or self._facts) and (ends or len(rows) >= _ROWS or (due and time.monotonic() >= due)):
                    self._write(rows)
                    rows, due = [], 0.0
                if item is None:
                    (self.folder / END).touch()
            except Exception as error:  # noqa: BLE001 - told by the hook, which switches itself off
                self.error = self.error or error
                rows, due, self._facts = [], 0.0, None
            if isinstance(item, threading.Event):
                item.set()
            if item is None:
                return

    def _write(self, rows: list[Pending]) -> None:
        import pyarrow.parquet as pq

        if self._facts is not None:
            write_json(self.folder / INDEX, {"format": FORMAT, "skipped": self.skipped, **self._facts})
            self._facts = None
        if rows:
            self._write_table(table_of(finished(rows, self.worker)), 0, self._next, pq)
            self._next += len(rows)
            self._merge(pq)

    def _write_table(self, table: Any, level: int, first: int, pq: Any) -> None:
        place = self.folder / STATISTICS / f"{level}-{first:012d}-{first + len(table) - 1:012d}.parquet"
        temporary = place.with_suffix(".tmp")
        try:
            pq.write_table(table, temporary, compression="zstd")
            os.replace(temporary, place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _merge(self, pq: Any) -> None:
        import pyarrow as pa

        levels: dict[int, list[Path]] = {}
        for path in segments(self.folder):
            levels.setdefault(int(path.stem.split("-")[0]), []).append(path)
        for level, paths in sorted(levels.items()):
            if len(paths) >= _MERGED:
                table = pa.concat_tables([pq.read_table(path).cast(schema()) for path in paths])
                self._write_table(table, level + 1, int(paths[0].stem.split("-")[1]), pq)
                for path in paths:
                    path.unlink()

    def _write_tensors(self, step: int, tensors: dict[str, Any]) -> None:
        import torch
        from safetensors.torch import save_file

        with self._count:
            self._waiting_bytes -= bytes_of(tensors)
        self._kept += 1
        if self.error is not None or (self._kept - 1) % self._keep_every:
            return
        folder = self.folder / TENSORS
        folder.mkdir(exist_ok=True)
        place = folder / tensor_file(step, self.worker)
        temporary = place.with_suffix(".tmp")
        plain = {
            name: (tensor.float() if torch.is_floating_point(tensor) else tensor).cpu().contiguous()
            for name, tensor in tensors.items()
        }
        try:
            save_file(plain, temporary)
            os.replace(temporary, place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._tensor_bytes += place.stat().st_size
        if self._tensor_bytes > self._disk_bytes:
            for path in sorted(folder.glob("*.safetensors"))[1::2]:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            self._tensor_bytes = size_of(folder)
            self._keep_every *= 2


def finished(rows: list[Pending], worker: str) -> list[Row]:
    """Rows with their numbers as floats; what lies on a device comes over in one piece."""
    import torch

    rows = [row._replace(numbers=_now(row.numbers), values=_now(row.values)) for row in rows]
    on_device = [row.numbers for row in rows if not isinstance(row.numbers, float | tuple)]
    columns = iter(torch.stack([t.to(on_device[0].device).double() for t in on_device]).tolist() if on_device else ())
    result = []
    for row in rows:
        if isinstance(row.numbers, float):
            value = row.numbers
            numbers: tuple[float, ...] = (value, value, value, 0.0, abs(value), abs(value), float(value == 0))
        else:
            found = row.numbers[0].rows[row.numbers[1]] if isinstance(row.numbers, tuple) else next(columns)
            numbers = finish(row.n, *found)
        values = None if row.values is None else tuple(row.values.flatten().tolist())
        prod = None if row.prod is None else float(row.prod)
        where = (row.step, row.mode, row.mode_step, worker, row.name, row.collection, row.time, row.n)
        result.append(Row._make((*where, *numbers, row.shape, row.chosen, row.raw, prod, values)))
    return result


def _now(value: Any) -> Any:
    return value() if callable(value) else value
