"""How often the machine was used how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smdebug.profiler.analysis.notebook_utils.charts import Chart, series_of
from vizsla.reports.charts import Series, lines


class MetricsHistogram(Chart):
    """Of the system metrics of a reader."""

    def __init__(self, metrics_reader: Any) -> None:
        super().__init__()
        self._reader = metrics_reader

    def plot(
        self,
        starttime: float = 0,
        endtime: float | None = None,
        select_dimensions: Sequence[str] = (),
        select_events: Sequence[str] = (),
        show_workers: bool = True,
    ) -> Chart:
        """Between two moments, in microseconds of Unix time."""
        end = float("inf") if endtime is None else endtime
        drawn = []
        for name, us, values in series_of(self._reader.profile, select_dimensions, select_events):
            kept = values[(us >= starttime) & (us <= end)]
            if len(kept):
                counts, edges = np.histogram(kept, 20)
                middle = ((edges[1:] + edges[:-1]) / 2).tolist()
                drawn.append((name, lines([Series(name, middle, counts.tolist())], x_label="value", y_label="samples")))
        return self.show("System metrics", drawn)
