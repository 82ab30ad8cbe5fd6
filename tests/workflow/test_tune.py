"""``vizsla tune`` on real pictures: the search, its job, its winner."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla

from vizsla.errors import JobError, UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.models.model import load
from vizsla.progress.trials import sparkline
from vizsla.training.config import StepConfig
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import own_objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.workflow.fit import fit
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest, FitResult
from vizsla.workflow.tune import load_tuning, resume

SPACE = {"lr": "0.001..0.1:log", "batch-size": "8,16", "optimizer": "sgd"}


def request(photos: Path, name: str | None = "tune-it", trials: int = 10, **options: Any) -> FitRequest:
    asked = {"space": Space.of(SPACE), "strategy": "tpe", "finalists": 2, "finalist_seeds": 2} | options
    search = SearchRequest(limits=SearchLimits(trials=trials), **asked)
    return FitRequest(photos, "test_resnet", None, True, StepConfig(epochs=3), name=name, tune=search)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos", {"red": 24, "green": 24, "blue": 24})


@pytest.fixture(scope="module")
def tuned(photos: Path, undisturbed: Callable[[FitRequest], FitResult]) -> FitResult:
    """A search that has ended, in a home of its own."""
    return undisturbed(request(photos))


def test_a_search_ends_in_a_measured_saved_model(tuned: FitResult, photos: Path) -> None:
    result = tuned.search
    assert result is not None
    assert len(result.trials) == 10
    assert result.verdict is not None
    assert len(result.verdict.finalists) == 2
    model = load(tuned.model)
    picture = next((photos / "red").glob("*.jpg"))
    assert model.predict(picture)
    card = json.loads((tuned.model / "model.json").read_text())
    used = card["provenance"]["hyperparameters"]
    assert used["lr"] == result.winner.params["lr"]
    assert used["optimizer"] == "sgd"
    assert "test_accuracy" in (tuned.job / "metrics.jsonl").read_text()
    assert (tuned.job / "output" / "tuning.html").exists()
    summary = json.loads((tuned.job / "output" / "tuning.json").read_text())
    assert summary["BestTrainingJob"]["TunedHyperParameters"] == result.winner.params
    table = (tuned.job / "output" / "trials.csv").read_text().splitlines()
    assert table[0].startswith("lr,batch-size,TrainingJobName,TrainingJobStatus,FinalObjectiveValue")
    assert len(table) == 11


def test_what_is_exported_trains_the_same_head(tuned: FitResult, photos: Path) -> None:
    from vizsla.tuning.head_space import head_config

    best = load_tuning(tuned.job).best_hyperparameters()
    again = fit(FitRequest(photos, "test_resnet", None, True, head_config(StepConfig(epochs=3), best)))
    first, second = load(tuned.model), load(again.model)
    for picture in list((photos / "blue").glob("*.jpg"))[:3]:
        data = picture.read_bytes()
        np.testing.assert_allclose(first.probabilities(data), second.probabilities(data), atol=1e-5)


def test_the_test_split_is_refused_as_objective() -> None:
    with pytest.raises(UsageError, match="the test split is sealed during a search"):
        own_objective("average test loss")


def test_a_bad_space_is_said_before_any_work(photos: Path) -> None:
    with pytest.raises(UsageError, match="There is no hyperparameter 'lrr'"):
        fit(request(photos, space=Space.of({"lrr": "0.1..1.0"})))
    assert not Path(os.environ["VIZSLA_HOME"]).exists()


def test_another_space_in_the_same_study_is_refused(photos: Path, tmp_path: Path, folder_of_photos: Any) -> None:
    study = str(tmp_path / "study.db")
    fit(request(photos, study=study, name=None, trials=4))
    with pytest.raises(UsageError, match="searches another space") as caught:
        fit(request(photos, study=study, name=None, trials=4, space=Space.of({"lr": "0.1..1.0"})))
    assert study in str(caught.value)
    slower = replace(request(photos, study=study, name=None, trials=6), head=StepConfig(epochs=4))
    with pytest.raises(UsageError, match="its trials are of other fixed hyperparameters"):
        fit(slower)
    others = folder_of_photos({"red": 20, "green": 22}, name="others")
    with pytest.raises(UsageError, match="its trials are of other data or backbone"):
        fit(request(others, study=study, name=None, trials=6))
    more = fit(request(photos, study=study, name=None, trials=6))
    assert more.search is not None
    assert len(more.search.trials) == 6, "the four trials of before are counted"


def test_a_later_search_learns_from_an_earlier_one(tuned: FitResult, photos: Path, folder_of_photos: Any) -> None:
    earlier = (str(tuned.job),)
    same = fit(request(photos, name="again", warm_start=earlier, trials=2))
    assert same.search is not None
    assert "searched the same data: its " in same.search.notes[0]
    assert len(same.search.trials) == 2
    longer = replace(request(photos, name="longer", warm_start=earlier, trials=5), head=StepConfig(epochs=5))
    found = fit(longer).search
    assert found is not None
    assert "trained with other fixed hyperparameters" in found.notes[0]
    other = folder_of_photos({"red": 20, "green": 22}, name="others")
    transferred = fit(request(other, name="other", warm_start=earlier, trials=5))
    assert transferred.search is not None
    assert "searched other data" in transferred.search.notes[0]
    assert tuned.search is not None
    best = min(tuned.search.trials, key=lambda t: t.value if t.value is not None else 9.0)
    assert transferred.search.trials[0].params == best.params
    with pytest.raises(JobError, match="There is no job"):
        fit(request(photos, name="x", warm_start=("nothing",)))


CONTROLLER = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
from test_tune import request
from vizsla.workflow.fit import fit
from vizsla.workflow.observer import Silent

class Slow(Silent):
    def trials(self, trials, objective):
        time.sleep(0.02)

fit(request(Path(sys.argv[2]), trials=30), Slow())
"""


def test_a_killed_search_goes_on(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER)
    controller = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(photos)])
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if sum(t.ended for t in load_tuning("tune-it").trials) >= 9:
                break
        except (JobError, FileNotFoundError):
            pass
        time.sleep(0.05)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    before = load_tuning("tune-it").trials
    assert 9 <= sum(t.ended for t in before) < 30
    found = resume("tune-it", Silent()).search
    assert found is not None
    assert [t.number for t in found.trials] == list(range(30))
    assert all(t.ended for t in found.trials)
    for was in before:
        assert found.trials[was.number].params == was.params
        if was.ended:
            assert found.trials[was.number] == was
    with pytest.raises(JobError, match="The search 'tune-it' is completed: there is nothing left to do"):
        resume("tune-it", Silent())


def test_the_command_line(photos: Path, tmp_path: Path) -> None:
    done = vizsla(
        "tune", photos, "--space", "lr=0.001..0.1:log", "batch-size=8,16", "--random-init",
        "--backbone", "test_resnet", "--epochs", 2,
        "--trials", 9, "--strategy", "random", "--name", "t", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert len(answer["tuning"]["TrainingJobSummaries"]) == 9
    assert "next    vizsla tune export t" in done.stderr
    assert "trial   0" in done.stderr
    shown = vizsla("tune", "show", "t", "--json")
    assert json.loads(shown.stdout)["HyperParameterTuningJobStatus"] == "Completed"
    best = tmp_path / "best.json"
    exported = vizsla("tune", "export", "t", "-o", best)
    assert exported.returncode == 0
    _, *again = shlex.split(exported.stderr.split("next    ")[1])
    assert again[:4] == ["fit", str(photos), "--backbone", "test_resnet"]
    values = json.loads(best.read_text())
    assert set(values) == {"lr", "batch-size", "epochs"}
    fitted = vizsla(*again, "--json")
    assert fitted.returncode == 0, fitted.stderr
    job = Path(json.loads(fitted.stdout.splitlines()[-1])["model"])
    used = json.loads((job / "model.json").read_text())["provenance"]["hyperparameters"]
    assert used["lr"] == values["lr"]
    assert used["epochs"] == 2
    refused = vizsla("tune", photos, "lr=0.001..0.1", "--objective", "test accuracy")
    assert refused.returncode == 2
    assert "the test split is sealed" in refused.stderr
    empty = vizsla("tune", photos, "lr=0.1..0.1")
    assert empty.returncode == 2
    assert "is empty" in empty.stderr


def test_the_data_options_and_the_tracking_of_fit(photos: Path) -> None:
    done = vizsla(
        "tune", photos, "lr=0.001..0.1:log", "--random-init", "--backbone", "test_resnet", "--epochs", 1,
        "--trials", 2, "--finalists", 0, "--drop-class", "blue", "--tracking-uri", "off", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job = Path(json.loads(done.stdout.splitlines()[-1])["job"])
    assert json.loads((job / "model" / "model.json").read_text())["classes"] == ["green", "red"]
    fixed = JobDirectory(job).document["TrainingJobDefinition"]["HyperParameters"]
    assert "blue" in fixed["drop_classes"]
    assert not (job.parent / "mlflow.db").exists()
    refused = vizsla("tune", photos, "lr=0.1,0.2", "--script", "x.py", "--on-leak", "warn")
    assert refused.returncode == 2
    assert "Options for labelled pictures have no effect on a script's channels." in refused.stderr
    assert "do: leave out --on-leak warn" in refused.stderr


@pytest.mark.slow  # proves the option of fit, 10 seconds of processes
def test_the_search_inside_fit(photos: Path) -> None:
    done = vizsla("fit", photos, "--random-init", "--backbone", "test_resnet", "--tune", 8, "--epochs", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])["tuning"]["TrainingJobSummaries"]) == 8


@pytest.mark.slow  # proves the MLflow runs, 15 seconds of MLflow
def test_each_trial_is_a_run_below_the_jobs_run(photos: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from vizsla.jobs.directory import JobDirectory
    from vizsla.jobs.recorder import Recorder

    result = fit(request(photos, trials=4))
    home = result.job.parent
    recorder = Recorder(f"sqlite:///{home.parent / 'mlflow.db'}", home)
    for _ in range(2):  # a second time writes nothing twice
        assert recorder.record(JobDirectory.open(result.job))
    runs = mlflow.MlflowClient(f"sqlite:///{home.parent / 'mlflow.db'}").search_runs([recorder.experiment])
    parents = [r for r in runs if r.data.tags.get("vizsla.job") == "tune-it"]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(parents) == 1
    assert len(children) == 4
    assert result.search is not None
    assert {c.data.tags["vizsla.trial"] for c in children} == {t.name for t in result.search.trials}
    by_name = {c.data.tags["vizsla.trial"]: c for c in children}
    for t in result.search.trials:
        assert by_name[t.name].data.params["lr"] == str(t.params["lr"])
        if t.complete:
            assert by_name[t.name].data.metrics["FinalObjectiveValue"] == pytest.approx(t.value)


def test_the_python_door(photos: Path) -> None:
    import vizsla as package

    space = {"lr": package.ContinuousParameter(0.001, 0.1), "batch-size": package.CategoricalParameter([8, 16])}
    result = package.tune(
        photos,
        space | {"epochs": 2},
        trials=3,
        random_init=True,
        backbone="test_resnet",
        strategy="random",
        finalists=0,
    )
    assert result.search is not None
    assert result.search.verdict is None
    frame = package.load_tuning(result.job).analytics().dataframe()
    assert frame["TrainingJobStatus"].isin(["Completed", "Stopped"]).all()
    assert len(frame) == 3
    assert set(result.search.analytics().tuning_ranges) == {"lr", "batch-size"}
    with pytest.raises(UsageError, match="sealed"):
        package.tune(photos, space, objective="test loss")


def test_sparklines() -> None:
    assert sparkline([1.0, 0.5, 0.0], 0.0, 1.0) == "█▅▁"
    assert sparkline([1.0, float("nan"), 0.0], 0.0, 1.0) == "█ ▁"
    assert len(sparkline(list(map(float, range(100))), 0, 99)) == 24
    assert sparkline([1.0, 1.0], 1.0, 1.0) == "▁▁"
