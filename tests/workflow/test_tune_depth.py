"""A search among trainings of the backbone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vizsla.errors import UsageError
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.tuning.trials import TrialRecord
from vizsla.workflow.document import from_job, to_job
from vizsla.workflow.fit import fit, fit_in
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest
from vizsla.workflow.tune import load_tuning

Folder = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("one_core")
FIXED = {"epochs": 2, "batch_size": 8, "views": 2}


def request(
    data: Path, ranges: dict[str, str] | None, fixed: dict[str, Any], trials: int = 3, **more: Any
) -> FitRequest:
    space = None if ranges is None else Space.of(ranges)
    search = SearchRequest(space, limits=SearchLimits(trials), **more)
    return FitRequest.of(data, fixed, tune=search, backbone="test_resnet", random_init=True, size=48, name="mine")


class Trials(Silent):
    """Keeps what it is told; ends the search, as a kill would, when so many trials have ended."""

    def __init__(self, end_at: int | None = None) -> None:
        self.last: Sequence[TrialRecord] = ()
        self.notes: list[str] = []
        self._end_at = end_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        self.last = trials
        if self._end_at is not None and sum(t.ended for t in trials) >= self._end_at:
            raise KeyboardInterrupt


def test_the_best_trial_is_the_model(folder_of_photos: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
    data, seen = folder_of_photos({"red": 12, "green": 12}), Trials()
    ranges = {"lr": "0.0005..0.005:log", "depth": "last,full", "augmentation": "none,light"}
    result = fit(request(data, ranges, FIXED, early_stopping="off"), seen)
    assert result.search is not None
    assert [t.status for t in result.search.trials] == ["Completed"] * 3
    assert all(len(t.curve) == 2 for t in result.search.trials)
    winner = result.search.winner
    card = result.load().card
    assert card.provenance.hyperparameters["lr"] == pytest.approx(winner.params["lr"])
    assert f"then trained (depth {winner.params['depth']})" in card.backbone.weights
    kept = result.search.hyperparameters()
    assert kept["epochs"] == 2
    again = FitRequest.of(data, {}, kept).head
    assert isinstance(again, FineTuneConfig)
    assert again.lr == pytest.approx(winner.params["lr"])
    assert "The best trial beside the frozen backbone: of the validation pictures" in " ".join(seen.notes)
    assert "It is the best of 3 on these same pictures: expect less on others." in " ".join(seen.notes)
    assert not list((result.job / "checkpoints").glob("trial-*.checkpoint"))


def test_a_search_that_was_ended_goes_on(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vizsla.jobs.directory import JobDirectory
    from vizsla.jobs.here import resuming_here

    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
    data = folder_of_photos({"red": 12, "green": 12})
    with pytest.raises(KeyboardInterrupt):
        fit(request(data, {"lr": "0.0005,0.001,0.002"}, FIXED | {"depth": "last"}, strategy="grid"), Trials(2))
    job, seen = JobDirectory.open(tmp_path / "runs" / "mine"), Trials()
    with resuming_here(job):
        result = fit_in(job, from_job(job.document), seen)
    assert result.search is not None
    assert [t.status for t in result.search.trials] == ["Completed"] * 3
    best = result.search.winner
    assert result.load().card.provenance.hyperparameters["lr"] == best.params["lr"]


def test_the_best_of_a_search_that_was_ended_is_not_trained_again(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vizsla.jobs.directory import JobDirectory
    from vizsla.jobs.here import resuming_here
    from vizsla.training.fine_tuning import loop

    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
    data = folder_of_photos({"red": 12, "green": 12})
    asked = request(data, {"lr": "0.0005,0.002"}, FIXED | {"depth": "last"}, 2, strategy="grid")
    with pytest.raises(KeyboardInterrupt):
        fit(asked, Trials(2))
    job = JobDirectory.open(tmp_path / "runs" / "mine")
    assert len(list(job.checkpoints.glob("trial-*.checkpoint"))) == 1
    monkeypatch.setattr(loop, "take_step", lambda *args: pytest.fail("a step was taken again"))
    with resuming_here(job):
        result = fit_in(job, from_job(job.document), Silent())
    assert result.search is not None
    assert result.load().card.provenance.hyperparameters["lr"] == result.search.winner.params["lr"]
    assert not list(job.checkpoints.glob("trial-*.checkpoint"))


def test_trials_begin_with_several_backbones(
    folder_of_photos: Folder, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
    data, seen = folder_of_photos({"red": 20, "green": 20}), Trials()
    search = SearchRequest(
        Space.of({"backbone": "test_byobnet,test_resnet", "lr": "0.001"}), strategy="grid", limits=SearchLimits(2)
    )
    asked = FitRequest.of(data, FIXED, tune=search, weights=shelf, name="mine")
    assert from_job(json.loads(json.dumps(to_job(asked)))).tune == asked.tune
    result = fit(asked, seen)
    assert result.search is not None
    assert {t.params["backbone"]: t.status for t in result.search.trials} == {
        "test_byobnet": "Completed",
        "test_resnet": "Completed",
    }
    assert result.search.winner.params["backbone"] == "test_resnet"
    card = result.load().card
    assert card.backbone.name == "test_resnet"
    assert "then trained (depth last)" in card.backbone.weights
    tuning = load_tuning(result.job)
    assert tuning.backbone()["backbone"] == "test_resnet"
    assert "backbone" not in tuning.best_hyperparameters()
    frozen = [text for text in result.warnings if text.startswith("Frozen, the same")]
    assert frozen, "the frozen backbone that it is compared with is that of the best trial"


def test_a_document_holds_all_of_it(tmp_path: Path) -> None:
    asked = request(tmp_path, {"lr": "0.001..0.01"}, FIXED | {"depth": "full"})
    again = from_job(json.loads(json.dumps(to_job(asked))))
    assert again.head == asked.head
    assert again.tune == asked.tune


def test_a_depth_alone_searches_the_usual(tmp_path: Path) -> None:
    tune = request(tmp_path, None, {"depth": "last"}).tune
    assert tune is not None
    assert tune.space is not None
    assert {"lr", "layer_decay", "augmentation"} <= set(tune.space.parameters)
    assert tune.space.static == {"depth": "last"}


@pytest.mark.parametrize(
    ("ranges", "fixed", "more", "words"),
    [
        ({"backbone": "test_resnet,resnet18", "lr": "0.1..0.2"}, {}, {}, "The backbone is named twice"),
        ({"backbone": "1..2"}, {}, {}, "A backbone is no number"),
        ({"depth": "head,last"}, {}, {}, "depth='head' is no depth of a trial"),
        ({"views": "0..4"}, {}, {}, "views=0"),
        ({"depth": "last,full", "cut": "layer3.0,layer4.0"}, {}, {}, "means nothing where all blocks train"),
        ({"lr": "0.1..0.2"}, {"cut": "layer9.0"}, {}, "The backbone has no block 'layer9.0'"),
        ({"lr": "0.1..0.2"}, {"lr": 0.1, "depth": "last"}, {}, "Parameter 'lr' comes twice"),
        ({"lr": "0.1..0.2"}, {"depth": "last"}, {"seeds": 3}, "seeds=3 is for heads"),
        ({"lr": "0.1..0.2"}, {"depth": "last"}, {"finalists": 2}, "finalists=2 is for heads"),
        ({"lr": "0.1..0.2"}, {"depth": "auto"}, {}, "depth='auto' is no depth of a trial"),
    ],
)
def test_what_cannot_be_searched(
    folder_of_photos: Folder, ranges: dict[str, str], fixed: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        fit(request(folder_of_photos({"red": 3, "green": 3}), ranges, fixed, **more))
    assert words in str(caught.value)
    assert caught.value.allowed or caught.value.do
