"""What the machine and the loop did over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smdebug.profiler.analysis.notebook_utils.charts import Chart, series_of
from vizsla.reports.charts import Series, lines
from vizsla.reports.profile import step_chart, thinned


class TimelineCharts(Chart):
    """Drawn at once; ``select_dimensions`` and ``select_events`` as for ``MetricsHistogram``."""

    def __init__(
        self,
        system_metrics_reader: Any,
        framework_metrics_reader: Any = None,
        starttime: float = 0,
        endtime: float | None = None,
        select_dimensions: Sequence[str] = (),
        select_events: Sequence[str] = (),
        **_: object,
    ) -> None:
        super().__init__()
        profile = system_metrics_reader.profile
        drawn = []
        for name, us, values in series_of(profile, select_dimensions, select_events):
            if len(us):
                series = Series(name, *thinned(us, values, profile.span[0]))
                drawn.append((name, lines([series], x_label="seconds", y_label="value")))
        steps = None if framework_metrics_reader is None else step_chart(framework_metrics_reader.profile)
        self.show("Over time", drawn + ([] if steps is None else [("Training steps", steps)]))
