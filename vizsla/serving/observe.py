"""What the server tells about itself: metrics for Prometheus, one line of JSON a request, the last requests."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_RECENT = 50


@dataclass
class Record:
    """What is known of one request while it is answered. Times in seconds of ``time.perf_counter``."""

    request_id: str
    method: str
    path: str
    client: str
    started: float = field(default_factory=time.perf_counter)
    route: str = "other"
    model: str | None = None
    pictures: int = 0
    bytes_in: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0
    error: str | None = None
    inference_id: str | None = None
    status: int = 0


class Observer:
    """Counters, the log, and the last requests for the page."""

    def __init__(self, *, log_requests: bool = True) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "vizsla_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "vizsla_request_seconds", "Time from the request's first line to the answer.", ("route",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._wait = Histogram(
            "vizsla_wait_seconds", "Time that a picture waited for a worker.", buckets=_SECONDS, registry=self.registry
        )
        self._pictures = Counter("vizsla_pictures", "Pictures classified.", registry=self.registry)
        self._batches = Counter(
            "vizsla_batches", "Engine calls by pictures in them.", ("size",), registry=self.registry
        )
        self._loads = Counter("vizsla_model_loads", "Models loaded.", registry=self.registry)
        self._gauges = {
            name: Gauge(f"vizsla_{name}", words, registry=self.registry)
            for name, words in (
                ("models_loaded", "Models in memory."),
                ("model_bytes", "Bytes that the loaded models count for."),
                ("waiting", "Pictures waiting."),
            )
        }
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._log_requests = log_requests
        self._lock = threading.Lock()
        self.recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)

    def batch(self, size: int) -> None:
        """An engine call with ``size`` pictures ended."""
        self._batches.labels(str(size)).inc()

    def loaded(self, name: str, seconds: float) -> None:
        """A model was loaded."""
        self._loads.inc()
        self.log("info", "model loaded", model=name, ms=round(1000 * seconds, 1))

    def finished(self, record: Record) -> None:
        """A request was answered."""
        seconds = time.perf_counter() - record.started
        counter, histogram = self._child(record.route, record.status)
        counter.inc()
        histogram.observe(seconds)
        if record.pictures:
            self._pictures.inc(record.pictures)
            self._wait.observe(record.wait_seconds)
        entry = {
            "request_id": record.request_id,
            "method": record.method,
            "path": record.path[:300],
            "status": record.status,
            "ms": round(1000 * seconds, 2),
            "wait_ms": round(1000 * record.wait_seconds, 2),
            "work_ms": round(1000 * record.work_seconds, 2),
            "model": record.model,
            "pictures": record.pictures,
            "bytes": record.bytes_in,
            "client": record.client,
            "error": record.error,
            "inference_id": record.inference_id,
        }
        if record.route != "observe":
            self.recent.append({"time": _now(), **entry})
            if self._log_requests:
                self.log("info" if record.status < 500 else "error", "request", **entry)

    def log(self, level: str, event: str, **values: Any) -> None:
        """Write a line of JSON to stderr."""
        line = {"time": _now(), "level": level, "event": event, **{k: v for k, v in values.items() if v is not None}}
        text = json.dumps(line) + "\n"
        with self._lock:
            sys.stderr.write(text)

    def metrics(self, *, models_loaded: int, model_bytes: int, waiting: int) -> bytes:
        """The text that Prometheus reads."""
        self._gauges["models_loaded"].set(models_loaded)
        self._gauges["model_bytes"].set(model_bytes)
        self._gauges["waiting"].set(waiting)
        return generate_latest(self.registry)

    def _child(self, route: str, status: int) -> tuple[Any, Any]:
        child = self._children.get((route, status))
        if child is None:
            child = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._children[route, status] = child
        return child


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
