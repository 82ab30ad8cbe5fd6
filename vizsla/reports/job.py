"""How a job ended."""

from __future__ import annotations

from vizsla.jobs.result import JobResult
from vizsla.reports.render import render


def fragment(result: JobResult) -> str:
    """What a notebook shows of a job that has ended."""
    state = result.state
    rows = [(name, f"{value:g}") for name, value in result.metrics.items()]
    rows += [(name, "no value was found") for name in result.missing_metrics]
    rows += [
        (name, str(path)) for name, path in (("model", result.archive or result.model), ("job", result.job)) if path
    ]
    return render("job.html.j2", name=result.job.name, status=state.status, reason=state.reason or "", rows=rows)
