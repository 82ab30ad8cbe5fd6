"""The page of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.files import write_bytes
from vizsla.jobs.directory import JobDirectory
from vizsla.reports import search_charts as charts
from vizsla.reports.render import duration, render
from vizsla.reports.render import fragment as fragment_of_page
from vizsla.reports.search_charts import Axis, Dot
from vizsla.tuning.objective import Objective
from vizsla.tuning.result import COST_UNIT, SearchResult
from vizsla.tuning.space import CategoricalParameter, Parameter
from vizsla.tuning.trials import TrialRecord
from vizsla.version import VERSION

PAGE = "tuning.html"
_CURVE_WIDTH, _CURVE_HEIGHT = 110, 24


def write_page(job: JobDirectory, result: SearchResult) -> Path:
    """Write ``output/tuning.html`` of a tuning job."""
    path = job.output / PAGE
    write_bytes(path, page(result, job.state.created).encode("utf-8", "replace"))
    return path


def fragment(result: SearchResult) -> str | None:
    """What a notebook shows of a search."""
    return fragment_of_page(page(result))


def page(result: SearchResult, created: str = "") -> str:
    """The whole page as HTML."""
    objective, trials = result.objective, result.trials
    complete = [t for t in trials if t.complete]
    winner = result.winner
    goal = _objective_axis(complete, objective)
    axes = [_axis(name, p) for name, p in result.space.parameters.items()]
    dots = [_dot(t, axes, goal, complete, objective, winner) for t in complete]
    counts = {status: sum(t.status == status for t in trials) for status in ("Completed", "Stopped", "Failed")}
    return render(
        "tune.html.j2",
        job=result.name,
        created=created,
        objective={"metric": objective.metric, "direction": objective.direction},
        winner={
            "number": winner.number,
            "value": _short(result.value),
            "mean": result.verdict is not None and len(result.verdict.winner.values) > 1,
            "parameters": [(name, _short(value)) for name, value in result.hyperparameters().items()],
        },
        counts=counts,
        total=len(trials),
        notes=result.notes,
        reason=result.reason,
        sealed=result.cost_unit == COST_UNIT,
        seconds=duration(result.seconds),
        verdict=_verdict(result),
        history=charts.history(dots, _best_so_far(complete, objective), goal),
        parallel=charts.parallel(dots, [*axes, goal]),
        importances=charts.importances(sorted(result.importances.items(), key=lambda pair: -pair[1]))
        if result.importances
        else None,
        slices=[charts.slices(dots, i, axis, goal) for i, axis in enumerate(axes)],
        names=list(result.space.parameters),
        rows=[_row(t, result, goal) for t in trials],
        ranges=list(result.space.words().items()),
        commands=f"vizsla tune export {result.name} -o best.json\n{use(result.cost_unit)}",
        version=VERSION,
    )


def use(cost_unit: str) -> str:
    """The command that trains with exported hyperparameters: our own training, or the script again."""
    if cost_unit == COST_UNIT:
        return "vizsla fit DATA --hyperparameters best.json"
    return "vizsla train --script SCRIPT --data DATA --hyperparameters best.json"


def _axis(name: str, p: Parameter) -> Axis:
    if isinstance(p, CategoricalParameter):
        values = p.values
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            values = tuple(sorted(values, key=float))
        return Axis(name, values=tuple(str(v) for v in values))
    return Axis(name, p.min_value, p.max_value, p.scaling == "Logarithmic")


def _objective_axis(complete: Sequence[TrialRecord], objective: Objective) -> Axis:
    """The range of the objective; the worst tenth lies on its edge, so that it does not flatten the rest."""
    values = sorted((t.value for t in complete if t.value is not None), key=objective.cost)
    middle = values[: max(2, math.ceil(0.9 * len(values)))]
    low, high = min(middle), max(middle)
    margin = (high - low) * 0.03 or abs(high) * 0.05 or 0.5
    return Axis(objective.metric, low - margin, high + margin)


def _dot(
    trial: TrialRecord,
    axes: Sequence[Axis],
    goal: Axis,
    complete: Sequence[TrialRecord],
    objective: Objective,
    winner: TrialRecord,
) -> Dot:
    value = trial.value if trial.value is not None else math.nan
    worse = sum(objective.cost(t.value or 0.0) > objective.cost(value) for t in complete)
    params = ", ".join(f"{name}={_short(v)}" for name, v in trial.params.items())
    return Dot(
        number=trial.number,
        value=value,
        places=(*(axis.at(trial.params[axis.name]) for axis in axes), goal.at(value)),
        good=worse / max(1, len(complete) - 1),
        text=f"trial {trial.number}: {objective.metric} {value:.5g} ({params})",
        winner=trial.number == winner.number,
    )


def _best_so_far(complete: Sequence[TrialRecord], objective: Objective) -> list[float]:
    values: list[float] = []
    for trial in complete:
        value = trial.value if trial.value is not None else math.nan
        values.append(value if not values or objective.better(value, values[-1]) else values[-1])
    return values


def _verdict(result: SearchResult) -> dict[str, Any] | None:
    verdict = result.verdict
    if verdict is None:
        return None
    return {
        "words": verdict.words,
        "rows": [
            {
                "number": f.trial.number,
                "mean": _short(f.mean),
                "spread": _short(f.spread),
                "cost": "" if f.trial.cost is None else f"{f.trial.cost:,.0f}",
                "tied": f.trial.number in verdict.tied,
                "winner": f.trial.number == verdict.winner.trial.number,
            }
            for f in verdict.finalists
        ],
        "unit": result.cost_unit,
        "seeds": len(verdict.winner.values),
    }


def _row(trial: TrialRecord, result: SearchResult, goal: Axis) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": trial.name,
        "status": trial.status,
        "params": [_short(trial.params[name]) for name in result.space.parameters],
        "value": _short(trial.value),
        "seconds": "" if trial.seconds is None else duration(trial.seconds),
        "curve": _curve(trial.curve, goal),
        "reason": trial.reason or "",
        "winner": trial.number == result.winner.number,
    }


def _curve(values: Sequence[float], goal: Axis) -> list[str]:
    """Points of a small polyline: the objective after each epoch, on the scale of all trials."""
    last = max(1, len(values) - 1)
    return [
        f"{2 + i / last * (_CURVE_WIDTH - 4):.1f},{2 + (1 - goal.at(v)) * (_CURVE_HEIGHT - 4):.1f}"
        for i, v in enumerate(values)
        if math.isfinite(v)
    ]


def _short(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
