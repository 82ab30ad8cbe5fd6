"""How long steps took."""

from __future__ import annotations

from typing import Any

from smdebug.profiler.analysis.notebook_utils.charts import Chart
from vizsla.reports.profile import histogram


class StepHistogram(Chart):
    """Of the training loop that a reader reads."""

    def __init__(self, metrics_reader: Any, width: int = 500) -> None:
        super().__init__()
        self._reader = metrics_reader
        self.last_timestamp = metrics_reader.get_timestamp_of_latest_available_file()

    def plot(self, starttime: float | None = None, endtime: float | None = None, *_: object, **__: object) -> Chart:
        """Of all steps."""
        chart = histogram(self._reader.profile)
        return self.show("Step durations", [] if chart is None else [("Training steps", chart)])
