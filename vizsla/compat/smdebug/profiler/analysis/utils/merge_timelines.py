"""One trace of all that was recorded, for Perfetto or chrome://tracing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smdebug.profiler.profile_folder import profile_at
from smdebug.profiler.utils import TimeUnits, convert_utc_timestamp_to_microseconds
from vizsla.profiling.framework import events_of, trace


class MergedTimeline:
    """Writes ``TIME_merged_timeline.json``."""

    def __init__(self, path: str, file_suffix_filter: Any = None, output_directory: str | None = None) -> None:
        self._path, self._folder = str(path), Path(output_directory or ".")

    def merge_timeline(
        self, start: float, end: float, unit: TimeUnits = TimeUnits.MICROSECONDS, sys_metrics_filter: Any = None
    ) -> str:
        """What lies between two moments; the path of the file."""
        begin_us, end_us = (convert_utc_timestamp_to_microseconds(moment, unit) for moment in (start, end))
        profile = profile_at(self._path)
        events = events_of(profile)
        first = int(events.began_us.searchsorted(begin_us))
        last = int(events.began_us.searchsorted(end_us, side="right"))
        lines = trace(events, first, last)
        base = lines[0]["args"]["start_time_since_epoch_in_micros"]
        samples = profile.samples.between(begin_us, end_us)
        for i in range(len(samples)):
            _, name, dimension, _ = samples.series[samples.which[i]]
            title = f"{name} {dimension}".strip()
            moment = int(samples.us[i]) - base
            lines.append(
                {"name": title, "ph": "C", "pid": 0, "ts": moment, "args": {"value": float(samples.values[i])}}
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{end_us}_merged_timeline.json"
        path.write_text(json.dumps(lines))
        return str(path)
