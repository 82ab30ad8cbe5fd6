"""What the machine did while a job ran."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vizsla.aws.system_metrics import read


@dataclass(frozen=True)
class SystemEvent:
    """One value at one moment, in seconds since 1970."""

    type: str
    name: str
    dimension: str
    value: float
    node_id: str
    timestamp: float


class LocalSystemMetricsReader:
    """Reads the samples below a folder ``profiler-output``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._events: list[SystemEvent] = []

    def refresh_event_file_list(self) -> None:
        """Read what is new."""
        self._events = [
            SystemEvent(row["Type"], row["Name"], row["Dimension"], row["Value"], row["NodeId"], row["Timestamp"])
            for row in read(self.path)
        ]

    def get_events(self, start_time: float, end_time: float, **_: object) -> list[SystemEvent]:
        """What lies between two moments, both in seconds since 1970, or in microseconds."""
        start, end = (t / 1e6 if t > 1e12 else t for t in (start_time, end_time))
        self.refresh_event_file_list()
        return [event for event in self._events if start <= event.timestamp <= end]

    def get_timestamp_of_latest_available_file(self) -> int:
        """The moment of the last sample, in seconds; 0 before there is any."""
        self.refresh_event_file_list()
        return int(self._events[-1].timestamp) if self._events else 0

    @property
    def events(self) -> list[SystemEvent]:
        """All of them."""
        self.refresh_event_file_list()
        return self._events
