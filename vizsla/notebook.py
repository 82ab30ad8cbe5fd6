"""Results that show themselves in a notebook, as the pages draw them."""

from __future__ import annotations

import importlib

_DRAWN_IN = {
    "Evaluation": "vizsla.reports.evaluation",
    "JobResult": "vizsla.reports.job",
    "Prediction": "vizsla.reports.prediction",
    "SearchResult": "vizsla.reports.tune",
}
"""Results of the rooms and the files that draw them. A room knows no page: as the names of ``import vizsla`` are, the
file is imported when it is asked for, and its ``fragment(result)`` gives the HTML."""


class Shown:
    """Base of a result that a notebook shows as a table, charts and pictures, and a terminal by its ``repr``."""

    def _repr_html_(self) -> str | None:
        html: str | None = importlib.import_module(_DRAWN_IN[type(self).__name__]).fragment(self)
        return html
