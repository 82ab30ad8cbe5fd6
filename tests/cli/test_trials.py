"""The table of trials: nothing that a script prints may break it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vizsla.jobs.here import running_here
from vizsla.progress.trials import sparkline, table
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space, Value
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Study, TrialOutcome
from vizsla.tuning.trials import TrialRecord


@pytest.mark.parametrize("far", [-1e9, -0.2, -0.05, -1e308])
def test_a_value_far_below_the_scale_is_drawn_at_its_end(far: float) -> None:
    assert sparkline([far, 0.0, 1.0], 0.0, 1.0) == "▁▁█"
    assert sparkline([-far, 0.0, 1.0], 0.0, 1.0)[0] in "▁▂▃▄▅▆▇█"


def test_a_table_for_maximize_with_an_outlier() -> None:
    good = [TrialRecord(i, f"t{i}", {"x": i}, "Completed", 0.9, (0.8, 0.85, 0.9)) for i in range(9)]
    bad = TrialRecord(9, "t9", {"x": 9}, "Completed", -50.0, (-1000.0, -100.0, -50.0))
    text = io.StringIO()
    Console(file=text, width=120).print(table([*good, bad], Objective("r2", "maximize")))
    assert "▁▁▁" in text.getvalue()


def test_show_of_a_search_with_an_outlier(capsys: pytest.CaptureFixture[str]) -> None:
    from vizsla.cli.tune import show

    space, objective = Space.of({"x": "0.0..1.0"}), Objective("r2", "maximize")
    asked = SearchRequest(space=space, objective=objective, limits=SearchLimits(trials=12))
    with running_here(
        "tune", "x", {"HyperParameterTuningJobConfig": asked.to_dict(), "TrainingJobDefinition": {}}, name="outlier"
    ) as job:
        study = Study.open(str(job.checkpoints / "study.db"), job.name, space, objective, strategy("tpe"), total=12)
        for trial in study.ask(12):
            base = -1000.0 if trial.number == 5 else 0.8
            for epoch in (1, 2):
                study.report(trial.number, epoch, base + epoch / 100)
            study.tell(TrialOutcome(trial.number, base + 0.02))
    show("outlier", as_json=False)
    assert "outlier is Completed" in capsys.readouterr().out


def test_values_are_not_broken_on_80_columns() -> None:
    params: dict[str, Value] = {"lr": 0.00123, "weight_decay": 0.0123, "batch_size": 128, "momentum": 0.9123}
    trials = [TrialRecord(i, f"t{i}", params, "Completed", 0.9123, (0.8, 0.9) * 12) for i in range(3)]
    text = io.StringIO()
    Console(file=text, width=80).print(table(trials, Objective("valid_accuracy", "maximize")))
    last = text.getvalue().splitlines()[-1]
    for shown in ("Completed", "0.00123", "0.0123", "128", "0.9123"):
        assert shown in last
