"""The process beside a job that samples the machine: JSON lines in SageMaker's layout, a file a minute.

It imports psutil and nothing of numpy: it starts in a tenth of a second and holds about 20 MB.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.profiling.counters import Counters, ProcessTree, Row, core_limit
from vizsla.profiling.layout import NODE, hour_of, minute_file, output_of
from vizsla.version import PACKAGE

_FACTS_SECONDS = 30.0
_COMPACTION = (
    "import sys; sys.path.insert(0, sys.argv[1]); from vizsla.profiling.compaction import main; main(sys.argv[2:])"
)
_NICE = 10
_LEAST_GAP = 0.05


def main(words: Sequence[str]) -> None:
    """``JOB INTERVAL CLOCK PROCESS PARENT``: sample until SIGTERM comes or the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the job's
    job, interval, clock, process, parent = Path(words[0]), float(words[1]), int(words[2]), int(words[3]), int(words[4])
    Sampler(job, interval, clock, process, parent).run()


class Lines:
    """Appends rows to the file of the present minute; each batch in one write, so that a kill cuts one line at most."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._file = -1
        self.lost = 0
        """Batches that the file system did not take."""

    def write(self, rows: Sequence[tuple[float, Sequence[Row]]]) -> None:
        """Rows with the Unix time of their reading."""
        if not rows:
            return
        text = "".join(
            f'{{"Type":"{kind}","Name":"{name}","Dimension":"{dimension}","Value":{value:.6g},'
            f'"NodeId":"{NODE}","Timestamp":{moment:.6f}}}\n'
            for moment, batch in rows
            for kind, name, dimension, value in batch
        )
        path = minute_file(self._folder, rows[0][0])
        try:
            if path != self._path:
                self.close()
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
                self._path = path
            os.write(self._file, text.encode())
        except OSError:  # a full disk: the next may be taken again
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            os.close(self._file)
            self._path = None


class Sampler:
    """One attempt's sampling."""

    def __init__(self, job: Path, interval: float, clock: int, process: int, parent: int) -> None:
        self._job, self._interval, self._clock, self._parent = job, interval, clock / 1e9, parent
        self._folder = output_of(job)
        self._counters, self._tree = Counters(), ProcessTree(process)
        self._system = Lines(self._folder / "system" / "incremental")
        self._process = Lines(self._folder / "process" / "incremental")
        self._late: Counter[int] = Counter()
        self._ticks = self._skipped = 0
        self._compaction: int | None = None

    def run(self) -> None:
        """Until SIGTERM."""
        wake, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(into, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        began = due = time.monotonic()
        hour, told = hour_of(self._clock + began), 0.0
        while os.getppid() == self._parent and self._job_is_there():
            now = time.monotonic()
            self._late[int(10_000 * (now - due))] += 1
            self._sample()
            if now >= told:
                self._tell(began)
                told = now + _FACTS_SECONDS
            if (present := hour_of(self._clock + now)) != hour:
                self._compact(hour)
                hour = present
            due += self._interval
            if (behind := time.monotonic() - due) > 0:  # the machine slept, or stood still
                missed = math.ceil(behind / self._interval)
                due, self._skipped = due + missed * self._interval, self._skipped + missed
            if select.select([wake], [], [], max(0.0, due - time.monotonic()))[0]:
                break
        if time.monotonic() - (due - self._interval) > _LEAST_GAP and self._job_is_there():
            self._sample()
        if self._job_is_there():
            self._tell(began)
        self._system.close()
        self._process.close()

    def _job_is_there(self) -> bool:
        """A job that was removed must not come back by what is written into it."""
        return (self._job / "state.json").exists()

    def _sample(self) -> None:
        self._ticks += 1
        clock = self._clock
        self._system.write([(clock + moment, rows) for moment, rows in self._counters.read()])
        self._process.write([(clock + moment, rows) for moment, rows in self._tree.read()])

    def _tell(self, began: float) -> None:
        used = os.times()
        facts: dict[str, Any] = {
            "interval_ms": round(1000 * self._interval),
            "node": NODE,
            "cores": self._counters.cores,
            "core_limit": core_limit(),
            "memory_limit": self._counters.memory_limit,
            "in_container": self._counters.in_container,
            "gpus": self._counters.gpus.names,
            "missing": self._counters.missing,
            "began": self._clock + began,
            "seconds": round(time.monotonic() - began, 3),
            "cpu_seconds": round(used.user + used.system, 3),
            "ticks": self._ticks,
            "skipped": self._skipped,
            "lost": self._system.lost + self._process.lost,
            "lateness_ms": {name: self._quantile(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        }
        path = self._folder / "sampler.json"
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            half = path.with_name(f".{path.name}.tmp")
            half.write_text(json.dumps(facts, indent=2))
            half.replace(path)

    def _quantile(self, share: float) -> float:
        """Of how late a sample was taken, in ms."""
        wanted, seen = share * sum(self._late.values()), 0
        for late in sorted(self._late):
            seen += self._late[late]
            if seen >= wanted:
                return late / 10
        return 0.0

    def _compact(self, hour: str) -> None:
        """The hour that is over goes to Parquet, in a process of its own: a day of samples stays small."""
        if self._compaction is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._compaction, os.WNOHANG)
        argv = [sys.executable, "-I", "-c", _COMPACTION, str(PACKAGE.parent), str(self._folder), hour]
        with contextlib.suppress(OSError):
            self._compaction = os.posix_spawn(sys.executable, argv, os.environ)
            os.setpriority(os.PRIO_PROCESS, self._compaction, _NICE)
