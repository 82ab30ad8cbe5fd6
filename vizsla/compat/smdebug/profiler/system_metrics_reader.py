"""Reads what the machine did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smdebug.profiler.metrics_reader_base import MetricsReaderBase
from smdebug.profiler.utils import TimeUnits, convert_utc_timestamp_to_microseconds


@dataclass(frozen=True)
class SystemMetricsEvent:
    """One value; ``timestamp`` is in seconds of Unix time."""

    name: str
    type: str
    value: float
    timestamp: float
    dimension: str
    node_id: str


class LocalSystemMetricsReader(MetricsReaderBase):
    """Of a folder on this machine."""

    def get_events(
        self,
        start_time: float,
        end_time: float,
        unit: TimeUnits = TimeUnits.MICROSECONDS,
        event_type: str | None = None,
    ) -> list[SystemMetricsEvent]:
        """The values between two moments, of one type (``cpu``, ``gpu``, ``memory``, ``i/o``, ``network``) or all."""
        begin, end = (convert_utc_timestamp_to_microseconds(moment, unit) for moment in (start_time, end_time))
        samples = self.profile.samples.between(begin, end)
        result = []
        for i in np.argsort(samples.us, kind="stable").tolist():
            kind, name, dimension, node = samples.series[samples.which[i]]
            if event_type in (None, kind):
                moment = float(samples.us[i]) / 1e6
                result.append(SystemMetricsEvent(name, kind, float(samples.values[i]), moment, dimension, node))
        return result


class S3SystemMetricsReader(LocalSystemMetricsReader):
    """Of a bucket: ``s3://bucket/prefix`` is fetched when it is opened; a path on this machine is read in place."""
