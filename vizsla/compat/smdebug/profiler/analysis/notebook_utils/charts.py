"""What the charts of notebooks have in common: they draw themselves, without anything from the network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from vizsla.profiling.profile import JobProfile
from vizsla.profiling.samples import Samples
from vizsla.reports.render import render


class Chart:
    """HTML that a notebook shows."""

    def __init__(self, html: str = "") -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html

    def show(self, title: str, charts: Sequence[tuple[str, Any]]) -> Chart:
        """Draw, and show it at once where there is a notebook."""
        content = "".join(f"<h3>{name}</h3>{chart}" for name, chart in charts) or "<p>Nothing was recorded.</p>"
        from markupsafe import Markup

        self.html = render("fragment.html.j2", content=Markup(f"<section><h2>{title}</h2>{content}</section>"))
        try:
            from IPython.display import HTML, display
        except ImportError:
            return self
        display(HTML(self.html))
        return self


def series_of(
    profile: JobProfile, select_dimensions: Sequence[str] = (), select_events: Sequence[str] = ()
) -> list[tuple[str, Any, Any]]:
    """Name, moments (us), values of what is selected: regular expressions on dimensions and names; ``total`` is the
    mean of all cores or GPUs."""
    samples: Samples = profile.samples
    dimensions = [s[2] or s[1] for s in samples.series]
    result = []
    totals = [event for event in select_events if event == "total"]
    names = [event for event in select_events if event != "total"]
    for i, (kind, name, dimension, _) in enumerate(samples.series):
        about = f"{kind} {dimensions[i]}"
        chosen = not select_dimensions or any(re.search(d, about, re.IGNORECASE) for d in select_dimensions)
        if chosen and (not select_events or any(re.fullmatch(e, name) for e in names)):
            result.append((f"{name} {dimension}".strip(), *samples.of(kind, name, dimension)))
    for kind, dimension in (("cpu", "CPUUtilization"), ("gpu", "GPUUtilization")) if totals else ():
        us, table, _ = samples.table(kind, dimension)
        wanted = not select_dimensions or any(re.search(d, f"{kind} {dimension}", re.I) for d in select_dimensions)
        if len(us) and wanted:
            result.append((f"{dimension} total", us, np.asarray(table).mean(1)))
    return result
