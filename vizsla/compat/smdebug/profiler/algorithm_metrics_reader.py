"""Reads what the training loop did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smdebug.profiler.metrics_reader_base import MetricsReaderBase
from smdebug.profiler.utils import TimeUnits, convert_utc_timestamp_to_microseconds
from vizsla.profiling.framework import events_of
from vizsla.profiling.layout import NODE


@dataclass(frozen=True)
class TraceEvent:
    """One event; times are in microseconds of Unix time."""

    event_name: str
    event_phase: str
    start_time: int
    end_time: int
    pid: int
    event_args: dict[str, Any] = field(default_factory=dict)
    node_id: str = NODE
    tid: int = 0

    @property
    def duration(self) -> int:
        """Microseconds."""
        return self.end_time - self.start_time


class LocalAlgorithmMetricsReader(MetricsReaderBase):
    """Of a folder on this machine."""

    def get_events(
        self, start_time: float, end_time: float, unit: TimeUnits = TimeUnits.MICROSECONDS, **_: object
    ) -> list[TraceEvent]:
        """The events that lie between two moments, or reach into the time between them."""
        begin, end = (convert_utc_timestamp_to_microseconds(moment, unit) for moment in (start_time, end_time))
        events = events_of(self.profile)
        chosen = (events.ended_us >= begin) & (events.began_us <= end)
        columns = (events.name, events.phase, events.began_us, events.ended_us, events.pid, events.step)
        return [
            TraceEvent(name, phase, began, ended, pid, {"step_num": str(step), "pid": pid})
            for name, phase, began, ended, pid, step in zip(*(c[chosen].tolist() for c in columns), strict=True)
        ]


class S3AlgorithmMetricsReader(LocalAlgorithmMetricsReader):
    """Of a bucket: ``s3://bucket/prefix`` is fetched when it is opened; a path on this machine is read in place."""
