"""The machine over time, as a chart in a notebook."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from vizsla.reports.charts import Series, lines

_MOST = 4


class TimelineCharts:
    """Draws what a reader of system metrics has, where a notebook shows it.

    Parameters
    ----------
    select_dimensions:
        Such as ``["CPU", "GPU"]``: dimensions whose names hold one of these; by default all.
    select_events:
        Such as ``["total"]``: the mean of all cores; a core's own name shows that core.
    """

    def __init__(
        self,
        system_metrics_reader: LocalSystemMetricsReader,
        framework_metrics_reader: object = None,
        starttime: float = 0,
        select_metrics: Sequence[str] = (),
        select_dimensions: Sequence[str] = (),
        select_events: Sequence[str] = (),
        **_: object,
    ) -> None:
        events = [event for event in system_metrics_reader.events if event.timestamp >= starttime]
        first = events[0].timestamp if events else 0.0
        values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        own = {name for name in select_events if name != "total"}
        for event in events:
            label = event.dimension or event.name
            if select_dimensions and not any(part.lower() in label.lower() for part in select_dimensions):
                continue
            values[label][event.timestamp - first].append(event.value)
            if event.name in own:
                values[f"{label} {event.name}"][event.timestamp - first].append(event.value)
        self.series = [
            Series(name, list(points), [sum(v) / len(v) for v in points.values()]) for name, points in values.items()
        ]
        self._show()

    def _repr_html_(self) -> str:
        colours = "--c1:#2563eb;--c2:#d97706;--c3:#059669;--c4:#7c3aed;--bad:#dc2626"
        return f'<div style="{colours}">{lines(self.series[:_MOST], x_label="seconds", y_label="percent")}</div>'

    def _show(self) -> None:
        try:
            from IPython.display import HTML, display
        except ImportError:  # a script
            return
        display(HTML(self._repr_html_()))  # type: ignore[no-untyped-call]

    def find_time_annotations(self, *_: object, **__: object) -> None:
        """Nothing: there are no events of a framework."""
