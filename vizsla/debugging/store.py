"""Recorded scalars of a training loop, by step and mode: one line of JSON each, in ``output/debug/scalars.jsonl``."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

SCALARS = "scalars.jsonl"
END = "training_job_end.ts"
"""A file of this name says that nothing more will be recorded (the name that smdebug uses)."""


@dataclass(frozen=True)
class Scalar:
    """One recorded value. ``step`` counts all modes together, ``mode_step`` the steps of this mode."""

    name: str
    value: float
    step: int
    mode: str
    """``TRAIN``, ``EVAL``, ``PREDICT`` or ``GLOBAL``."""
    mode_step: int
    collection: str = "default"
    time: float = 0.0
    worker: str = "worker_0"


class ScalarWriter:
    """Appends records; a kill loses at most the line being written.

    Raises
    ------
    OSError
        When the file system refuses.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / END).unlink(missing_ok=True)
        self._file = os.open(folder / SCALARS, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":  # the writer before was killed within a line
            os.write(self._file, b"\n")

    def append(self, records: list[Scalar]) -> None:
        """Write records, whole lines at once."""
        data = "".join(json.dumps(_plain(record)) + "\n" for record in records).encode()
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Say that nothing more will come."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            with contextlib.suppress(OSError):
                (self.folder / END).touch()


def read_scalars(folder: Path) -> Iterator[Scalar]:
    """The records in the order they were written; a line cut off by a kill is left out."""
    try:
        file = open(folder / SCALARS, "rb")  # noqa: SIM115 - closed below; the missing file is a usual case
    except FileNotFoundError:
        return
    with file:
        for line in file:
            with contextlib.suppress(ValueError, TypeError):
                fields = json.loads(line)
                yield Scalar(**(fields | {"value": float(fields["value"])}))


def _plain(record: Scalar) -> dict[str, object]:
    fields = asdict(record)
    if not math.isfinite(record.value):
        fields["value"] = str(record.value)  # JSON has no nan
    return fields
