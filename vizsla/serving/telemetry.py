"""What the server tells about itself: metrics for Prometheus, one line of JSON a request, the last requests."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_RECENT = 50


@dataclass(slots=True)
class RequestRecord:
    """What is known of one request while it is answered. Times in seconds of ``time.perf_counter``."""

    request_id: str
    method: str
    path: str
    client: str
    started: float = field(default_factory=time.perf_counter)
    ended: float = 0.0
    route: str = "other"
    model: str | None = None
    pictures: int = 0
    bytes_in: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0
    error: str | None = None
    broken: tuple[int, ...] = ()
    """The places of pictures part of whose data is broken."""
    inference_id: str | None = None
    classes: str | None = None
    """The classes in the order of the answer, for its header, where it does not name them itself."""
    status: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For the log and the page."""
        return {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path[:300],
            "status": self.status,
            "ms": round(1000 * (self.ended - self.started), 2),
            "wait_ms": round(1000 * self.wait_seconds, 2),
            "work_ms": round(1000 * self.work_seconds, 2),
            "model": self.model,
            "pictures": self.pictures,
            "bytes": self.bytes_in,
            "client": self.client,
            "error": self.error,
            "broken": list(self.broken) or None,
            "inference_id": self.inference_id,
        }


class _Times:
    """A histogram of seconds: one count a bound, and the sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        bounds = [*map(str, map(float, _BOUNDS)), "+Inf"]
        return [(bound, float(sum(self.counts[: i + 1]))) for i, bound in enumerate(bounds)]


class Telemetry(Collector):
    """Counters, the log, and the last requests for the page.

    Counting is a few additions to plain numbers (Prometheus's own counters cost a tenth of what a request costs);
    they become metrics when somebody asks. ``gauges`` are read then, too.
    """

    def __init__(self, *, log_requests: bool = True, errors_only: bool = False) -> None:
        self._log_requests = log_requests
        self._errors_only = errors_only
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, _Times] = {}
        self._wait = _Times()
        self._pictures = 0
        self._loads = 0
        self.last_finished = time.monotonic()
        """When the last request that had a body, or failed, was answered."""
        self._recent: deque[tuple[float, RequestRecord]] = deque(maxlen=_RECENT)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def loaded(self, name: str, seconds: float) -> None:
        """A model was loaded."""
        self._loads += 1
        self.log("info", "model loaded", model=name, ms=round(1000 * seconds, 1))

    def finished(self, record: RequestRecord) -> None:
        """A request was answered."""
        record.ended = time.perf_counter()
        if record.bytes_in or record.error:
            self.last_finished = time.monotonic()
        self._requests[record.route, record.status] += 1
        times = self._seconds.get(record.route)
        if times is None:
            times = self._seconds[record.route] = _Times()
        times.add(record.ended - record.started)
        if record.pictures:
            self._pictures += record.pictures
            self._wait.add(record.wait_seconds)
        if record.route != "observe":
            self._recent.append((time.time(), record))
            if self._log_requests:
                self.log("info" if record.status < 500 else "error", "request", **record.to_dict())

    def recent(self) -> list[dict[str, Any]]:
        """The last requests, the newest first."""
        return [{"time": _text(when), **record.to_dict()} for when, record in reversed(self._recent)]

    def log(self, level: str, event: str, **values: Any) -> None:
        """Write a line of JSON to stderr; a reader that has gone harms nobody."""
        if self._errors_only and level not in ("error", "critical"):
            return
        line = {"time": _text(time.time()), "level": level, "event": event}
        text = json.dumps(line | {name: value for name, value in values.items() if value is not None}) + "\n"
        with self._lock, contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none from the start
            sys.stderr.write(text)

    def metrics(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """The numbers as metric families."""
        requests = CounterMetricFamily("vizsla_requests", "Requests by route and status.", labels=("route", "status"))
        for (route, status), count in list(self._requests.items()):
            requests.add_metric((route, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "vizsla_request_seconds", "From a request's headers to its answer.", labels=("route",)
        )
        for route, times in list(self._seconds.items()):
            seconds.add_metric((route,), times.buckets(), times.total)
        yield seconds
        yield HistogramMetricFamily(
            "vizsla_wait_seconds",
            "Time that a picture waited for a worker.",
            buckets=self._wait.buckets(),
            sum_value=self._wait.total,
        )
        yield CounterMetricFamily("vizsla_pictures", "Pictures classified.", value=self._pictures)
        yield CounterMetricFamily("vizsla_model_loads", "Models loaded.", value=self._loads)
        for name, (words, read) in self.gauges.items():
            yield GaugeMetricFamily(f"vizsla_{name}", words, value=read())


def _text(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
