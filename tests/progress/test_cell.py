"""A job in the cell of a notebook."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from vizsla.progress import cell as cells
from vizsla.progress.cell import CellView, in_notebook
from vizsla.progress.watching import watching
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord


class Output:
    """Keeps what a front end would show."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, view: Any, *, display_id: bool) -> Output:
        assert display_id
        self.update(view)
        return self

    def update(self, view: Any) -> None:
        self.shown.append(view._repr_html_())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(cells, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_stages_notes_and_the_time_left(clock: SimpleNamespace) -> None:
    output = Output()
    view = CellView(output)
    view.stage("dataset")
    clock.seconds += 2
    view.stage("features", 400)
    clock.seconds += 10
    view.progress(100, 400)
    for part in ("Reading the data set", "2.0 s", "Computing features", "100 of 400", "10 s", "30 s left"):
        assert part in output.shown[-1]
    assert "features running 100 of 400 10 s 30 s left" in repr(view).lower()
    view.note("3 pictures <b> cannot be read")
    assert "3 pictures &lt;b&gt; cannot be read" in output.shown[-1]
    drawn = len(output.shown)
    for done in range(101, 200):
        view.progress(done, 400)
    assert len(output.shown) == drawn, "a front end is not asked to draw each picture"
    view.finish()
    assert "400 of 400" in output.shown[-1]
    assert "s left" not in output.shown[-1]


def test_the_best_trial_so_far_and_a_failure(clock: SimpleNamespace) -> None:
    output = Output()
    view = CellView(output)
    view.stage("search", 4)
    clock.seconds += 1
    trials = [TrialRecord(i, f"t-{i}", {"lr": 0.1 / (i + 1)}, "Completed", value=0.5 - i / 10) for i in range(2)]
    view.trials([*trials, TrialRecord(2, "t-2", {"lr": 1.0}, "InProgress")], Objective("valid_loss", "minimize"))
    assert "2 of 4" in output.shown[-1]
    assert "Best so far: trial 1, valid_loss 0.4 (lr=0.05)" in output.shown[-1]
    view.finish(failed=True)
    assert "✗" in output.shown[-1]


def test_where_there_is_no_kernel(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", terminal)  # type: ignore[arg-type]
    assert not in_notebook()
    with watching() as observer:
        observer.stage("dataset")
        observer.note("[val] is a class")
    assert "[val] is a class" in capfd.readouterr().err
