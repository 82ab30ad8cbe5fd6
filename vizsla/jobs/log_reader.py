"""Reading a job's log while it grows, also while its end still lies in files of its own (:mod:`vizsla.jobs.logs`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vizsla.jobs.growing import line_after, read_text_after, size
from vizsla.jobs.logs import joins, tails_of

_FAR_BEHIND = 16 << 20
_KEPT_BYTES = 256 << 10


@dataclass(frozen=True)
class LogPosition:
    """How far a log was read."""

    at: int = 0
    """Bytes of ``logs.txt``."""
    tail: int = 0
    """The number of the tail file that comes after these; 0 where none was begun."""
    within: int = 0
    """Bytes of that file."""


def read_log_after(log: Path, run: Path, position: LogPosition) -> tuple[str, LogPosition]:
    """The text after ``position``, at most 1 MiB of it, and where it goes on; no text at the end of what there is.

    Parameters
    ----------
    log, run:
        ``logs.txt`` and ``.run`` of a job.
    """
    position = _joined(log, run, position)
    if position.tail == 0:
        tails = _tails_behind(log, run)  # before the log is read: where there is one, nothing more comes to the log
        head = size(log)
        text, at = read_text_after(log, position.at)
        if text or not tails:
            return text, LogPosition(at)
        position = LogPosition(head, tail=1)
    else:
        tails = tails_of(run)
    if tails and position.tail < min(tails):
        return "\n[vizsla: a part of the log is left out here]\n", LogPosition(position.at, min(tails))
    if position.tail not in tails:
        return "", position
    text, within = read_text_after(tails[position.tail], position.within)
    if not text and position.tail + 1 in tails:  # that file is begun when this one is full
        return read_log_after(log, run, LogPosition(position.at, position.tail + 1))
    return text, LogPosition(position.at, position.tail, within)


def end_of(log: Path, run: Path) -> LogPosition:
    """Behind all that is there now."""
    head, sizes, _ = _look(log, run)
    last = max(sizes, default=0)
    return LogPosition(head, last, sizes.get(last, 0))


def near_the_end(log: Path, run: Path, position: LogPosition) -> tuple[str, LogPosition]:
    """Where to go on with a log: at ``position``, or, when over 16 MiB lie after it, 256 KiB before its end.

    Returns
    -------
    Words for the reader where something is left out, and the place.
    """
    position = _joined(log, run, position)
    head, sizes, tails = _look(log, run)
    sizes = {number: count for number, count in sizes.items() if number >= position.tail}
    behind = sum(sizes.values()) + (0 if position.tail else head - position.at)
    behind -= position.within if position.tail in sizes else 0
    if behind <= _FAR_BEHIND:
        return "", position
    if sizes:
        last = max(sizes)
        end = LogPosition(head, last, line_after(tails[last], max(0, sizes[last] - _KEPT_BYTES)))
        left_out = behind - sizes[last] + end.within
    else:
        end = LogPosition(line_after(log, head - _KEPT_BYTES))
        left_out = end.at - position.at
    return f"\n[vizsla: {left_out:,} bytes of the log are not shown; they are in {log}]\n", end


def _joined(log: Path, run: Path, position: LogPosition) -> LogPosition:
    """The position after the tail files, where it may be, were put behind the beginning."""
    if position.tail == 0:
        return position
    for join in reversed(joins(run)):
        if join.head == position.at and join.end <= size(log):
            start = join.starts.get(position.tail)
            return LogPosition(join.head if start is None else start + position.within)
    return position


def _look(log: Path, run: Path) -> tuple[int, dict[int, int], dict[int, Path]]:
    """The bytes of the log and of each tail file behind it, and these files, all of one moment."""
    while True:
        head = size(log)
        tails = _tails_behind(log, run)
        sizes = {number: size(path) for number, path in tails.items()}
        if size(log) == head:
            return head, sizes, tails


def _tails_behind(log: Path, run: Path) -> dict[int, Path]:
    """The tail files that go on where ``logs.txt`` ends; not those that were just put there."""
    tails = tails_of(run)
    return tails if tails and size(log) > max((join.end for join in joins(run)), default=0) else {}
