"""The logs of jobs and endpoints as streams of events: a line is an event, its number the byte at which it begins.

A log holds no times. What is new in one when somebody asks is given the time of the file's last change, which is
written down (``aws/logs`` below the home), so that an event keeps its time and none is ever put before one that was
given: clients go on by the last time that they have seen, and by how many events they have seen of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vizsla.aws.context import Context
from vizsla.errors import VizslaError
from vizsla.jobs.directory import NAME_PATTERN, JobDirectory

GROUPS = {
    "/aws/sagemaker/TrainingJobs": ("train",),
    "/aws/sagemaker/TransformJobs": ("transform",),
    "/aws/sagemaker/ProcessingJobs": ("evaluate", "explain", "bias", "process"),
}
"""Log groups of jobs, and the kinds of jobs in each; what is no kind of another group is a processing job."""
ENDPOINTS = "/aws/sagemaker/Endpoints/"
"""Before the name of an endpoint, its log group."""

PAGE_BYTES = 1 << 20
_LONGEST_EVENT = 256 << 10
_NOT_PROCESSING = ("train", "transform", "tune")
_MARK = threading.Lock()


@dataclass(frozen=True)
class Event:
    """A line; ``start`` and ``end`` are its bytes, with its end."""

    start: int
    end: int
    time: int
    """Milliseconds since 1970."""
    message: str


@dataclass(frozen=True)
class Stream:
    """One log. ``created`` in milliseconds; ``ended`` where no line will be gone on with."""

    group: str
    name: str
    log: Path
    created: int
    ended: bool
    marks_file: Path

    def marks(self) -> list[tuple[int, int]]:
        """Up to which byte lines were seen at which time, brought up to date."""
        with _MARK:
            return self._marked()

    def _marked(self) -> list[tuple[int, int]]:
        marks = _read_marks(self.marks_file)
        try:
            status = self.log.stat()
        except OSError:
            return []
        if marks and marks[-1][0] > status.st_size:  # another log under the old name
            marks = []
            self.marks_file.unlink(missing_ok=True)
        seen, last = marks[-1] if marks else (0, 0)
        whole = status.st_size if self.ended else self._whole_lines(seen, status.st_size)
        if whole > seen:
            moment = max(last + 1, int(status.st_mtime * 1000))
            marks.append((whole, moment))
            with contextlib.suppress(OSError):  # on a full disk logs are read all the same
                self.marks_file.parent.mkdir(parents=True, exist_ok=True)
                with open(self.marks_file, "a") as file:
                    file.write(f"{whole} {moment}\n")
        return marks

    def _whole_lines(self, seen: int, size: int) -> int:
        """The byte after the last line that is whole; in a very long line, after what is an event by itself."""
        with open(self.log, "rb") as file:
            at = max(seen, size - _LONGEST_EVENT)
            end = os.pread(file.fileno(), size - at, at).rfind(b"\n") + 1
            return at + end if end or at == seen else size

    def events(self, marks: list[tuple[int, int]], start: int, limit: int) -> list[Event]:
        """The events from byte ``start`` on, which begins one: at most ``limit``, and 1 MiB."""
        return _cut(self._bytes(start, min(start + PAGE_BYTES, _end(marks))), start, marks, last=False)[:limit]

    def events_before(self, marks: list[tuple[int, int]], end: int, limit: int) -> list[Event]:
        """The last events before byte ``end``: at most ``limit``, and 1 MiB."""
        end = min(end, _end(marks))
        start = max(0, end - PAGE_BYTES)
        data = self._bytes(start, end)
        if start:
            first = data.find(b"\n") + 1
            start, data = start + first, data[first:]
        return _cut(data, start, marks, last=True)[-limit:]

    def _bytes(self, start: int, end: int) -> bytes:
        with open(self.log, "rb") as file:
            return os.pread(file.fileno(), max(0, end - start), start)


def first_byte(marks: list[tuple[int, int]], time: int | None) -> int:
    """Where the first event of that time or later begins."""
    begin = 0
    for end, at in marks:
        if time is None or at >= time:
            break
        begin = end
    return begin


def _end(marks: list[tuple[int, int]]) -> int:
    return marks[-1][0] if marks else 0


def _cut(data: bytes, start: int, marks: list[tuple[int, int]], *, last: bool) -> list[Event]:
    """Bytes as events; what is after the last line's end is one only where the log ends there (or is a long line)."""
    events: list[Event] = []
    at = 0
    mark = iter(marks)
    until, time = next(mark, (0, 0))
    while at < len(data):
        newline = data.find(b"\n", at, at + _LONGEST_EVENT)
        end = newline + 1 if newline >= 0 else min(len(data), at + _LONGEST_EVENT)
        if newline < 0 and not last and end - at < _LONGEST_EVENT and start + end < _end(marks) and events:
            break  # the page ends within a line
        while start + at >= until:
            until, time = next(mark, (start + end, time))
        text = data[at:end].decode("utf-8", "replace").rstrip("\r\n")
        if text:  # CloudWatch has no empty events
            events.append(Event(start + at, start + end, time, text))
        elif events:
            events[-1] = Event(events[-1].start, start + end, events[-1].time, events[-1].message)
        at = end
    return events


def _read_marks(file: Path) -> list[tuple[int, int]]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    return [(int(match[1]), int(match[2])) for line in lines if (match := re.fullmatch(r"(\d+) (\d+)", line))]


def streams(ctx: Context, group: str, prefix: str = "") -> Iterator[Stream] | None:
    """The streams of a group whose names begin with ``prefix``, by name; None where there is no such group."""
    if group in GROUPS:
        return _of_jobs(ctx, group, prefix)
    if group.startswith(ENDPOINTS):
        folder = ctx.home / "endpoints" / group.removeprefix(ENDPOINTS)
        if folder.parent == ctx.home / "endpoints" and (folder / "config.json").is_file():
            return _of_endpoint(ctx, group, folder, prefix)
    return None


def _of_jobs(ctx: Context, group: str, prefix: str) -> Iterator[Stream]:
    job, slash, _ = prefix.partition("/")
    if slash:
        names = [job] if NAME_PATTERN.fullmatch(job) else []
    else:
        names = sorted(entry.name for entry in os.scandir(ctx.home)) if ctx.home.is_dir() else []
    for name in names:
        if name.startswith(job) and (ctx.home / name / "logs.txt").is_file():
            stream = _of_job(ctx, group, name)
            if stream is not None and stream.name.startswith(prefix):
                yield stream


def _of_job(ctx: Context, group: str, name: str) -> Stream | None:
    try:
        job = JobDirectory.open(ctx.home / name)
        kind, created, ended = job.kind, _milliseconds(job.envelope.created), job.state.has_ended
    except (VizslaError, ValueError):
        return None
    kinds = GROUPS[group]
    if kind not in kinds and (kinds != GROUPS["/aws/sagemaker/ProcessingJobs"] or kind in _NOT_PROCESSING):
        return None
    marks = ctx.state / "logs" / f"{name}.{created}"
    return Stream(group, f"{name}/algo-1-{created // 1000}", job.logs, created, ended, marks)


def _of_endpoint(ctx: Context, group: str, folder: Path, prefix: str) -> Iterator[Stream]:
    log = folder / "log.txt"
    if log.is_file():
        created = int((folder / "config.json").stat().st_ctime * 1000)
        name = f"AllTraffic/{folder.name}"
        if name.startswith(prefix):
            yield Stream(group, name, log, created, False, ctx.state / "logs" / f"endpoint.{folder.name}")


def _milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)
