"""The machine over time as a map of colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smdebug.profiler.analysis.notebook_utils.charts import Chart, series_of
from vizsla.reports.charts import heat_map
from vizsla.reports.profile import thinned

_COLUMNS = 60


class Heatmap(Chart):
    """Drawn at once; ``select_dimensions`` and ``select_events`` as for ``MetricsHistogram``."""

    def __init__(
        self,
        metrics_reader: Any,
        framework_metrics_reader: Any = None,
        select_dimensions: Sequence[str] = (),
        select_events: Sequence[str] = (),
        **_: object,
    ) -> None:
        super().__init__()
        profile = metrics_reader.profile
        rows = {}
        for name, us, values in series_of(profile, select_dimensions, select_events):
            if len(values) >= 2 and "Bytes" not in name and "IOPS" not in name:
                _, means = thinned(us, values, 0.0)
                parts = np.array_split(np.array(means), min(_COLUMNS, len(means)))
                rows[name] = [float(part.mean()) for part in parts]
        width = min((len(row) for row in rows.values()), default=0)
        if not width:
            self.show("The machine", [])
            return
        table = np.array([row[:width] for row in rows.values()])
        chart = heat_map(table, list(rows), [str(i) for i in range(width)], (0.0, 100.0))
        self.show("The machine", [("In use, %", chart)])
