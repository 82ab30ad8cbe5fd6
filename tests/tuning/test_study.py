"""The study: nothing lost, nothing counted twice, no other space."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import UsageError, VizslaError
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report, search
from vizsla.tuning.space import Space, Value
from vizsla.tuning.storage import stored_trials
from vizsla.tuning.strategies import STRATEGIES, strategy
from vizsla.tuning.study import Prior, Study, TrialOutcome
from vizsla.tuning.trials import TrialRecord, best

SPACE = Space.of({"x": "0.0..1.0", "n": "16,32,64", "kind": "a,b"})
LOSS = Objective("loss", "minimize")


def open_study(path: Path, name: str = "tune-x", space: Space = SPACE, how: str = "tpe", **options: Any) -> Study:
    return Study.open(str(path), name, space, LOSS, strategy(how), **({"total": 20} | options))


def loss(params: dict[str, Value]) -> float:
    return (float(params["x"]) - 0.3) ** 2 + (0 if params["kind"] == "b" else 0.1) + abs(int(params["n"]) - 32) / 1000


class Instant:
    """A runner whose trials end at once; ``of`` computes their value."""

    def __init__(self, of: Any = loss, room: int = 4) -> None:
        self.of, self.each, self.waiting, self.started = of, room, list[TrialRecord](), list[int]()

    def room(self, running: int, started: int, total: int) -> int:
        return 0 if running else self.each

    def start(self, trials: Any) -> None:
        self.waiting += trials
        self.started += [t.number for t in trials]

    def stop(self, reason: str) -> None: ...

    def step(self, report: Report) -> list[TrialOutcome]:
        trials, self.waiting = self.waiting, []
        outcomes = []
        for t in trials:
            value = self.of(t.params)
            outcomes.append(value if isinstance(value, TrialOutcome) else TrialOutcome(t.number, value=value))
        return outcomes


@pytest.mark.parametrize(
    "name",
    [
        # The Gaussian process of the default strategy is the same one: ten seconds more to prove it twice.
        pytest.param(name, marks=[pytest.mark.slow] if name == "gp" else [])
        for name in sorted(set(STRATEGIES) - {"grid"})
    ],
)
def test_every_strategy_finds_a_good_point_and_repeats_nothing(name: str, tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db", how=name)
    end = search(study, Instant(), SearchLimits(trials=20))
    trials = study.trials()
    assert end.reason == "all 20 trials were started"
    assert [t.number for t in trials] == list(range(20))
    assert len({tuple(t.params.items()) for t in trials}) == 20
    assert all(SPACE.contains(t.params) for t in trials)
    found = best(trials, LOSS)
    assert found is not None
    assert found.value is not None
    assert found.value < 0.15


def test_a_grid_tries_every_combination_once(tmp_path: Path) -> None:
    space = Space.of({"n": "1..3", "kind": "a,b"})
    study = open_study(tmp_path / "s.db", space=space, how="grid")
    end = search(study, Instant(lambda p: float(p["n"])), SearchLimits(trials=50))
    assert end.reason == "every combination was tried"
    assert sorted((t.params["n"], t.params["kind"]) for t in study.trials()) == [
        (n, k) for n in (1, 2, 3) for k in "ab"
    ]


def test_a_grid_over_numbers_without_end_is_refused(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db", how="grid")
    with pytest.raises(UsageError, match="A grid needs values, and x is a range of numbers"):
        study.ask(1)


def test_a_small_space_ends_the_search(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db", space=Space.of({"kind": "a,b,c"}), how="default")
    end = search(study, Instant(lambda p: 1.0), SearchLimits(trials=20))
    assert end.reason == "every combination was tried"
    assert len(study.trials()) == 3


def test_what_is_stored_is_what_was_told(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    study = open_study(path)
    a, b, c, d = study.ask(4)
    assert not study.report(a.number, 1, 0.9)
    study.report(a.number, 2, 0.5)
    study.tell(TrialOutcome(a.number, value=0.5, cost=12.0, metrics={"acc": 0.8}))
    study.tell(TrialOutcome(b.number, value=float("nan")))
    study.tell(TrialOutcome(c.number, reason="it crashed"))
    again = open_study(path).trials()
    assert again[0].curve == (0.9, 0.5)
    assert (again[0].value, again[0].cost, again[0].metrics) == (0.5, 12.0, {"acc": 0.8})
    assert (again[1].status, again[1].reason) == ("Failed", "the objective loss became nan")
    assert (again[2].status, again[2].reason) == ("Failed", "it crashed")
    assert again[3].status == "InProgress"
    assert [t.params for t in again] == [t.params for t in (a, b, c, d)]
    assert stored_trials(str(path), "tune-x") == again
    assert stored_trials(str(path), "another") == []


def test_optunas_own_tools_read_the_study(tmp_path: Path) -> None:
    import optuna

    study = open_study(tmp_path / "s.db")
    search(study, Instant(), SearchLimits(trials=6))
    theirs = optuna.load_study(study_name="tune-x", storage=f"sqlite:///{tmp_path / 's.db'}")
    assert theirs.best_value == min(t.value for t in study.trials() if t.value is not None)
    assert theirs.best_params["n"] in (16, 32, 64)


CONTROLLER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_study import Instant, open_study, loss
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.search import search

def slow(params):
    time.sleep(0.02)
    return loss(params)

study = open_study(Path(sys.argv[1]))
runner = Instant(slow, room=3)
print("ready", flush=True)
search(study, runner, SearchLimits(trials=20))
"""


def test_killed_again_and_again_no_trial_is_lost_or_counted_twice(tmp_path: Path) -> None:
    path, script = tmp_path / "s.db", tmp_path / "controller.py"
    script.write_text(textwrap.dedent(CONTROLLER))
    seen: dict[int, TrialRecord] = {}
    kills = 0
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, str(script), str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        if kills < 3:
            time.sleep(0.05 + 0.06 * attempt)
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        process.stdout.close()
        now = {t.number: t for t in stored_trials(str(path), "tune-x")}
        for number, before in seen.items():
            assert now[number].params == before.params
            if before.ended:
                assert now[number] == before, "what had ended is not run again"
        seen = now
        if process.returncode == 0:
            break
    assert sorted(seen) == list(range(20))
    assert all(t.complete for t in seen.values())
    with sqlite3.connect(path) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM trials").fetchone()
    assert rows == 20


def test_the_study_of_another_space_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_study(path).ask(1)
    other = Space.of({"x": "0.0..2.0", "n": "16,32,64", "kind": "a,b", "extra": "1..3"})
    with pytest.raises(UsageError) as caught:
        open_study(path, space=other)
    text = str(caught.value)
    assert "The study 'tune-x' searches another space" in text
    assert "x: 0..1 there, 0..2 now" in text
    assert "extra: absent there, 1..3 now" in text
    assert str(path) in text
    assert "warm_start" in text
    with pytest.raises(UsageError, match="objective: minimize loss there, maximize accuracy now"):
        Study.open(str(path), "tune-x", SPACE, Objective("accuracy", "maximize"), strategy("tpe"), total=5)


def test_a_file_that_is_no_study_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(VizslaError, match="The study cannot be opened") as caught:
        open_study(path)
    assert "postgresql://" in str(caught.value)


def test_three_failures_end_a_search_with_the_common_reason(tmp_path: Path) -> None:
    reasons = iter(["CUDA out of memory", "no module named foo", "no module named foo"])
    numbers = iter(range(100))
    runner = Instant(lambda p: TrialOutcome(next(numbers), reason=next(reasons)), room=1)
    with pytest.raises(VizslaError) as caught:
        search(open_study(tmp_path / "s.db"), runner, SearchLimits(trials=20))
    assert "All of the first 3 trials failed, 2 of them because: no module named foo" in str(caught.value)
    assert len(runner.started) == 3


def test_a_trial_that_returns_nan_does_not_end_the_search(tmp_path: Path) -> None:
    values = iter([float("nan"), 0.5, float("nan"), float("nan"), float("nan"), 0.4])
    study = open_study(tmp_path / "s.db")
    search(study, Instant(lambda p: next(values), room=1), SearchLimits(trials=6))
    assert [t.status for t in study.trials()] == ["Failed", "Completed", "Failed", "Failed", "Failed", "Completed"]


def test_limits(tmp_path: Path) -> None:
    values = iter([5.0, 4.0, 4.5, 4.6, 4.7, 1.0])
    study = open_study(tmp_path / "a.db")
    end = search(study, Instant(lambda p: next(values), room=1), SearchLimits(trials=20, patience=3))
    assert end.reason == "3 trials in a row brought nothing better"
    assert len(study.trials()) == 5
    values = iter([5.0, 4.0, 0.9, 0.8])
    study = open_study(tmp_path / "b.db")
    end = search(study, Instant(lambda p: next(values), room=1), SearchLimits(trials=20, target=1.0))
    assert end.reason == "the target 1 was reached"
    assert len(study.trials()) == 3

    def slow(params: dict[str, Value]) -> float:
        time.sleep(0.1)
        return 1.0

    study = open_study(tmp_path / "c.db")
    end = search(study, Instant(slow, room=1), SearchLimits(trials=1000, minutes=0.01))
    assert "0.01 minutes are over" in end.reason
    assert 1 <= len(study.trials()) <= 7
    for wrong in ({"trials": 0}, {"max_parallel": 0}, {"patience": 0}, {"minutes": 0}, {"target": float("nan")}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            SearchLimits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["asha", "hyperband", "tpe"])
def test_hopeless_trials_are_given_up(name: str, tmp_path: Path) -> None:
    """Trials report 9 epochs; those with a large x stay bad."""
    study = open_study(tmp_path / "s.db", how=name, total=30, epochs=9)

    class Epochs(Instant):
        def step(self, report: Report) -> list[TrialOutcome]:
            trials, self.waiting = self.waiting, []
            return [self._run(t, report) for t in trials]

        def _run(self, trial: TrialRecord, report: Report) -> TrialOutcome:
            for epoch in range(1, 10):
                value = loss(trial.params) + 1 / epoch
                if report(trial.number, epoch, value) and epoch < 9:
                    return TrialOutcome(trial.number, stopped=True, value=value)
            return TrialOutcome(trial.number, value=value)

    search(study, Epochs(room=1), SearchLimits(trials=30))
    trials = study.trials()
    stopped = [t for t in trials if t.status == "Stopped"]
    assert stopped
    assert all(len(t.curve) < 9 for t in stopped)
    found = best(trials, LOSS)
    assert found is not None
    assert len(found.curve) == 9
    assert open_study(tmp_path / "s.db", how=name, total=30, epochs=9).trials() == trials


def test_early_stopping_can_be_switched_off(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db", how="asha", early_stopping="off")
    for trial in study.ask(9):
        assert not any(study.report(trial.number, epoch, float(trial.number)) for epoch in range(1, 6))


def test_what_earlier_searches_learned_is_used(tmp_path: Path) -> None:
    known = tuple(
        ({"x": x / 20, "n": n, "kind": k}, loss({"x": x / 20, "n": n, "kind": k}))
        for x in range(20)
        for n in (16, 32)
        for k in "ab"
    )
    study = open_study(tmp_path / "a.db", prior=Prior(known=known), how="tpe")
    assert all(abs(float(t.params["x"]) - 0.3) < 0.2 and t.params["kind"] == "b" for t in study.ask(3))
    assert len(study.trials()) == 3, "what was known before is not counted"
    first = {"x": 0.25, "n": 64, "kind": "a"}
    study = open_study(tmp_path / "b.db", prior=Prior(first=(first,)))
    assert study.ask(2)[0].params == first


def test_importances_name_the_parameter_that_decides(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db", how="random")
    assert study.importances() == {}
    search(study, Instant(lambda p: float(p["x"])), SearchLimits(trials=30))
    found = study.importances()
    assert set(found) == {"x", "n", "kind"}
    assert max(found, key=lambda name: found[name]) == "x"
    assert sum(found.values()) == pytest.approx(1)


def test_a_study_with_whole_number_ends_is_gone_on_with(tmp_path: Path) -> None:
    space = Space.of({"lr": "0.01..1"})
    open_study(tmp_path / "s.db", space=space).ask(1)
    assert len(open_study(tmp_path / "s.db", space=Space.of(space.to_dict())).trials()) == 1


def test_what_differs_is_said_though_it_is_typed_alike(tmp_path: Path) -> None:
    open_study(tmp_path / "s.db", space=Space.of({"n": [32, 64], "x": "0.0..1.0"})).ask(1)
    with pytest.raises(UsageError, match=r"n: .*\(32, 64\).* there, .*\('32', '64'\).* now"):
        open_study(tmp_path / "s.db", space=Space.of({"n": ["32", "64"], "x": "0.0..1.0"}))
    with pytest.raises(UsageError, match="order: n, x there, x, n now"):
        open_study(tmp_path / "s.db", space=Space.of({"x": "0.0..1.0", "n": [32, 64]}))


def test_a_sampler_learns_from_trials_that_crashed(tmp_path: Path) -> None:
    study = open_study(tmp_path / "s.db")
    asked = study.ask(5)
    study.tell(TrialOutcome(0, reason="out of memory"))
    study.tell(TrialOutcome(1, 0.5))
    study.tell(TrialOutcome(2, 0.7))
    study.tell(TrialOutcome(3, reason="out of memory"))
    again = open_study(tmp_path / "s.db")
    for mind in (study._sampler_study, again._sampler_study):
        taught = sorted(t.value for t in mind.get_trials(deepcopy=False) if t.state.name == "COMPLETE")
        assert taught == [0.5, 0.5, 0.7, 0.7], "the two that crashed count as the worst that was seen then"
    assert [t.status for t in study.trials()] == ["Failed", "Completed", "Completed", "Failed", "InProgress"]
    assert len(asked) == 5


def test_known_trials_take_the_place_of_as_many_quasi_random_ones(tmp_path: Path) -> None:
    plain = [t.params for t in open_study(tmp_path / "a.db").ask(8)]
    known: tuple[tuple[dict[str, Value], float], ...] = (({"x": 0.5, "n": 16, "kind": "a"}, 0.1),) * 3
    asked = [t.params for t in open_study(tmp_path / "b.db", prior=Prior(known=known)).ask(5)]
    assert asked == plain[3:]
