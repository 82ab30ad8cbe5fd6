"""What is finished, one line of JSON a record, in the order of the inputs: what a restart goes on from.

A line is appended in one write when what it tells of is in its place. After a kill the last line may be torn: it is cut
off, and its record is done again.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from vizsla.files import storage


@dataclass
class Progress:
    """How far an earlier attempt has come: whole inputs that are done, and of the one that it broke off in the number
    of records and the bytes of its output."""

    done: set[str] = field(default_factory=set)
    begun: str | None = None
    records: int = 0
    end: int = 0
    total: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Journal:
    """The file. Written under the caller's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        end, block = size, 1 << 16
        while end:
            start = max(0, end - block)
            at = os.pread(self._file, end - start, start).rfind(b"\n")
            if at >= 0:
                os.ftruncate(self._file, start + at + 1)
                return
            end = start
        os.ftruncate(self._file, 0)

    def append(self, line: dict[str, Any]) -> None:
        """Add a line."""
        with storage(self.path):
            os.write(self._file, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines from the first one on."""
        with open(self.path, "rb") as file:
            for line in file:
                yield orjson.loads(line)

    def read(self) -> Progress:
        """How far it tells that the job has come."""
        progress = Progress()
        for line in self.lines():
            key, count = line["input"], line.get("count", 1)
            progress.total += count
            if error := line.get("error"):
                progress.errors[error["kind"]] += count
            if "record" not in line:
                progress.done.add(key)
            elif line["record"] is None:  # the end of a file of records
                progress.done.add(key)
                progress.total -= 1
                progress.begun, progress.records, progress.end = None, 0, 0
            else:
                progress.begun, progress.records, progress.end = key, line["record"] + 1, line["end"]
        return progress

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._file)
