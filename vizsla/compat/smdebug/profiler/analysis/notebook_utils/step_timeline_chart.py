"""How long each step took."""

from __future__ import annotations

from typing import Any

from smdebug.profiler.analysis.notebook_utils.charts import Chart
from vizsla.reports.profile import step_chart


class StepTimelineChart(Chart):
    """Of the training loop that a reader reads; drawn at once."""

    def __init__(self, metrics_reader: Any, *_: object, **__: object) -> None:
        super().__init__()
        chart = step_chart(metrics_reader.profile)
        self.show("Steps", [] if chart is None else [("Training steps", chart)])
