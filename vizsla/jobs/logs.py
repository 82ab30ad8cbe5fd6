"""A log of bounded size: its beginning and its end are kept, the middle of a very long one is left out."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from vizsla.errors import StorageError
from vizsla.files import write_json

HEAD_BYTES = 32 << 20
TAIL_BYTES = 32 << 20
_TAIL = "tail.{:09}"
_JOINS = "joins.json"


class CappedLog:
    """Takes the bytes of a job's stdout and stderr and appends them to ``logs.txt``.

    After ``head`` bytes, what follows goes to numbered files, each half of ``tail``, of which the last two are kept;
    :meth:`close` puts them behind the head. A full disk loses log lines, never the job.
    """

    def __init__(self, path: Path, run: Path, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self.path, self.run = path, run
        self.bytes = 0
        self.full = False
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._room = head
        self._half = tail // 2
        self._tail = -1
        self._number = 0
        self._in_tail = 0
        self._in_tails = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self.bytes += len(data)
        if self._room > 0:
            part = _up_to(data, self._room)
            self._room = self._room - len(part) if part == data else 0
            self._put(self._file, part)
            data = data[len(part) :]
        while data:
            if self._tail < 0 or self._in_tail >= self._half:
                self._next_tail()
            part = _up_to(data, self._half - self._in_tail)
            self._in_tail = self._in_tail + len(part) if part == data else self._half
            self._in_tails += len(part)
            self._put(self._tail, part)
            data = data[len(part) :]

    def _put(self, file: int, data: bytes) -> None:
        if file < 0:
            return
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError:
            self.full = True

    def _next_tail(self) -> None:
        if self._tail >= 0:
            os.close(self._tail)
        self._in_tail = 0
        self._number += 1
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC
        (self.run / _TAIL.format(self._number - 2)).unlink(missing_ok=True)
        try:
            self._tail = os.open(self.run / _TAIL.format(self._number), flags, 0o666)
        except OSError:
            self._tail, self.full = -1, True

    def close(self) -> None:
        """Put the end behind the beginning."""
        os.close(self._file)
        if self._tail >= 0:
            os.close(self._tail)
            self._tail = -1
            join_tails(self.path, self.run, self._in_tails)


def _up_to(data: bytes, room: int) -> bytes:
    """What of ``data`` goes into a file that has ``room``: whole lines, or at least whole characters, if it can be."""
    if len(data) <= room:
        return data
    end = data.rfind(b"\n", 0, room) + 1 or room
    while end > 0 and data[end] & 0xC0 == 0x80:
        end -= 1
    return data[: end or room]


@dataclass(frozen=True)
class Join:
    """Where the tail files of one attempt were put: bytes of ``logs.txt``."""

    head: int
    """Where the beginning ends."""
    starts: dict[int, int]
    """Where each tail file begins, by its number."""
    end: int


def tails_of(run: Path) -> dict[int, Path]:
    """The tail files by number, the older first."""
    return {int(path.suffix[1:]): path for path in sorted(run.glob("tail.*"))}


def joins(run: Path) -> list[Join]:
    """What :func:`join_tails` did to a job's log."""
    try:
        document = json.loads((run / _JOINS).read_bytes())
        return [Join(join["head"], {int(k): v for k, v in join["starts"].items()}, join["end"]) for join in document]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def join_tails(log: Path, run: Path, in_tails: int | None = None) -> None:
    """Append the tail files to the log, older first, and remove them. ``in_tails``: the bytes that ever went there.

    What will be where is written down first, so that whoever reads a tail file goes on behind it.
    """
    tails = tails_of(run)
    if not tails:
        return
    sizes = {number: path.stat().st_size for number, path in tails.items()}
    words = b""
    if 1 not in tails:
        count = "some" if in_tails is None else f"{in_tails - sum(sizes.values()):,} bytes"
        words = f"\n[vizsla: {count} of the log left out here]\n".encode()
    try:
        before, head = joins(run), log.stat().st_size
    except OSError:
        return
    at, starts = head + len(words), {}
    for number in tails:
        starts[number] = at
        at += sizes[number]
    try:
        write_json(run / _JOINS, [asdict(join) for join in (*before, Join(head, starts, at))])
        with open(log, "ab") as file:
            file.write(words)
            for path in tails.values():
                file.write(path.read_bytes())
    except (OSError, StorageError):  # a full disk: the tails stay and can still be read
        with contextlib.suppress(OSError):
            os.truncate(log, head)
        return
    for path in tails.values():
        path.unlink(missing_ok=True)


def last_lines(data: bytes, count: int = 40, characters: int = 4000) -> str:
    """The last lines of a log as text, for the words of a failure."""
    lines = data.decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return "\n".join(lines[-count:])[-characters:]
