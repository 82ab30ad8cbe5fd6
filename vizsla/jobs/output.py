"""What a job prints: kept in its log, searched for metrics, its last lines remembered."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vizsla.errors import StorageError
from vizsla.jobs.logs import HEAD_BYTES, TAIL_BYTES, CappedLog, last_lines
from vizsla.jobs.metrics import MetricWriter, last_metrics, read_metrics
from vizsla.jobs.scrape import Scraper, no_value

_TAIL_BYTES = 64 << 10


class JobOutput:
    """Takes the bytes of one attempt's stdout and stderr.

    Parameters
    ----------
    job:
        The job's directory.
    metrics:
        Pairs of name and regular expression.
    attempt:
        Its number, from 1: values that earlier ones found are counted on.
    log_bytes:
        How much of the beginning and of the end of the log are kept.
    scrape_seconds:
        See :class:`~vizsla.jobs.scrape.Scraper`.
    """

    def __init__(
        self,
        job: Path,
        metrics: Sequence[tuple[str, str]],
        attempt: int,
        *,
        log_bytes: tuple[int, int] = (HEAD_BYTES, TAIL_BYTES),
        scrape_seconds: float | None = None,
    ) -> None:
        self._log = CappedLog(job / "logs.txt", job / ".run", *log_bytes)
        self._metrics = MetricWriter(job / "metrics.jsonl")
        again = attempt > 1 and metrics
        counts = Counter(m.name for m in read_metrics(job / "metrics.jsonl")) if again else Counter[str]()
        self._scraper = Scraper(metrics, self._append, counts, seconds=scrape_seconds, on_slow=self._tell_slow)
        self._scrape_seconds = scrape_seconds
        self._tail = bytearray()
        self._disk_full = False

    @property
    def size(self) -> int:
        """How many bytes were taken."""
        return self._log.bytes

    @property
    def disk_full(self) -> bool:
        """Whether something could not be written."""
        return self._disk_full or self._log.full

    @property
    def tail(self) -> str:
        """The last lines."""
        return last_lines(bytes(self._tail))

    def take(self, data: bytes) -> None:
        """Take what was printed next. Never fails."""
        self._log.write(data)
        self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        try:
            self._scraper.feed(data)
        except Exception as error:  # noqa: BLE001 - whatever a log says, it must not end the job
            self._log.write(f"\n[vizsla: a part of the log was not searched for metrics: {error!r:.200}]\n".encode())

    def close(self, *, tell_missing: bool) -> dict[str, str | None]:
        """Write what waits. The defined metrics that nothing gave a value are named, in the log too, where wanted,
        and there also values that were left out."""
        self._scraper.close()
        with contextlib.suppress(StorageError):
            self._metrics.close()
        missing = self._tell_missing() if tell_missing else {}
        self._log.close()
        return missing

    def _append(self, name: str, value: float, step: int | None, epoch: float | None) -> None:
        try:
            self._metrics.append(name, value, step, epoch)
        except StorageError:  # the value waits for its turn until the end, when there is room again
            self._disk_full = True

    def _tell_slow(self, name: str) -> None:
        words = f"its regular expression took more than {self._scrape_seconds:g} s for one block of the log"
        self._log.write(f"\n[vizsla: metric {name!r} is not looked for any longer: {words}]\n".encode())

    def _tell_missing(self) -> dict[str, str | None]:
        missing = self._scraper.missing()
        if missing:  # the code may have written them itself
            written = last_metrics(self._metrics.path)
            missing = {name: text for name, text in missing.items() if name not in written}
        lines = [f"[vizsla: metric {name!r} has no value: {no_value(text)}]\n" for name, text in missing.items()]
        lines += [f"[vizsla: {words}]\n" for words in self._scraper.left_out()]
        begun = "\n" if lines and self._tail and self._tail[-1:] not in b"\r\n" else ""
        self._log.write((begun + "".join(lines)).encode(errors="replace"))
        return missing
