"""Searches whose trials are jobs: real scripts in real processes, killed and taken over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vizsla
from vizsla.errors import JobError, UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.tuning.job_runner import JobsRunner
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.tuning.trials import TrialRecord
from vizsla.workflow.observer import Silent
from vizsla.workflow.script_search import ScriptSearch, ScriptSearchResult, objective_of, resume_script, tune_script
from vizsla.workflow.tune import load_tuning

TRAIN = """
import argparse, time
p = argparse.ArgumentParser()
p.add_argument("--lr", type=float)
p.add_argument("--batch-size", type=int)
p.add_argument("--epochs", type=int, default=3)
p.add_argument("--seed", type=int, default=0)
a = p.parse_args()
for epoch in range(a.epochs):
    time.sleep({sleep})
    loss = (a.lr - 0.3) ** 2 + a.batch_size / 1000 + 1 / (epoch + 1) + a.seed * 1e-3
    print(f"epoch {{epoch}} Valid Loss: {{loss}}", flush=True)
"""
LOSS = "valid loss=Valid Loss: ([0-9.e+-]+)"
RANGES = {"lr": "0.0..1.0", "batch-size": "16,32"}


def ask(
    folder: Path, text: str, *, metrics: tuple[str, ...] = (LOSS,), objective: str = "valid loss", **options: Any
) -> ScriptSearch:
    path = folder / "train.py"
    path.write_text(textwrap.dedent(text))
    limits = SearchLimits(trials=options.pop("trials", 4), max_parallel=options.pop("parallel", 2))
    search = SearchRequest(
        space=Space.of(options.pop("ranges", RANGES)),
        objective=objective_of(objective, "minimize", [m.partition("=")[0] for m in metrics]),
        limits=limits,
        **({"strategy": "tpe", "finalists": 0, "early_stopping": "off"} | options),
    )
    return ScriptSearch.of(str(path), None, [], [], metrics, "local-1cpu", "tune-it", search=search)


def run(folder: Path, text: str = TRAIN.format(sleep=0), **options: Any) -> ScriptSearchResult:
    return tune_script(ask(folder, text, **options), Silent())


def test_each_trial_is_a_job_and_the_last_value_counts(tmp_path: Path) -> None:
    found = run(tmp_path)
    result = found.result
    assert [t.status for t in result.trials] == ["Completed"] * 4
    for t in result.trials:
        assert t.value == pytest.approx((float(t.params["lr"]) - 0.3) ** 2 + int(t.params["batch-size"]) / 1000 + 1 / 3)
        assert len(t.curve) == 3
        job = JobDirectory.open(found.job.parent / t.name)
        assert job.state.status == "Completed"
        assert (job.kind, job.parent, job.executor) == ("train", "tune-it", "local")
        assert job.document["HyperParameters"]["batch-size"] == str(t.params["batch-size"])
    assert result.best.value == min(t.value for t in result.trials if t.value is not None)
    tuning = load_tuning("tune-it")
    assert tuning.best_hyperparameters() == result.best.params
    assert tuning.job.state.status == "Completed"
    page = found.report.read_text()
    assert "valid loss" in page
    frame = tuning.analytics().dataframe()
    assert list(frame.columns) == [
        "lr",
        "batch-size",
        "TrainingJobName",
        "TrainingJobStatus",
        "FinalObjectiveValue",
        "TrainingStartTime",
        "TrainingEndTime",
        "TrainingElapsedTimeSeconds",
    ]
    assert frame["FinalObjectiveValue"].tolist() == [t.value for t in result.trials]
    assert (frame["TrainingElapsedTimeSeconds"] > 0).all()


def test_an_objective_that_is_never_printed_is_named_with_what_was_seen(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run(tmp_path, metrics=("accuracy=Accuracy: ([0-9.]+)", LOSS), objective="accuracy", trials=9)
    text = str(caught.value)
    assert "The objective 'accuracy' is not among the metrics in the log" in text
    assert "valid loss" in text
    assert "Valid Loss" in text, "names that stand before numbers in the log"
    assert len(load_tuning("tune-it").trials) <= 3, "it is said after the first trial"
    assert load_tuning("tune-it").job.state.status == "Failed"


def test_trials_that_all_fail_end_the_search_after_three(tmp_path: Path) -> None:
    with pytest.raises(VizslaError) as caught:
        run(tmp_path, "import nothing_like_this", trials=20, parallel=1)
    assert "All of the first 3 trials failed, 3 of them because:" in str(caught.value)
    assert "nothing_like_this" in str(caught.value)
    assert len(load_tuning("tune-it").trials) == 3


def test_a_trial_that_prints_nan_fails_and_the_others_count(tmp_path: Path) -> None:
    text = """
    import sys
    lr = float(sys.argv[sys.argv.index("--lr") + 1])
    print("Valid Loss:", "nan" if lr > 0.5 else lr)
    """
    metric = "valid loss=Valid Loss: (nan|[0-9.e+-]+)"
    found = run(tmp_path, text, metrics=(metric,), trials=6, parallel=1, strategy="grid", ranges={"lr": "0.1,0.2,0.9"})
    by_lr = {t.params["lr"]: t for t in found.result.trials}
    assert (by_lr[0.9].status, by_lr[0.9].reason) == ("Failed", "the objective valid loss became nan")
    assert by_lr[0.1].status == by_lr[0.2].status == "Completed"
    assert found.result.reason == "every combination was tried"


def test_hopeless_jobs_are_stopped(tmp_path: Path) -> None:
    text = """
    import sys, time
    lr = float(sys.argv[sys.argv.index("--lr") + 1])
    for epoch in range(60):
        print("Valid Loss:", lr + 1 / (epoch + 1), flush=True)
        time.sleep(0.15 if lr > 0.55 else 0.01)
    """
    ranges = {"lr": "0.1,0.2,0.3,0.4,0.5,0.6,0.7"}
    found = run(tmp_path, text, ranges=ranges, trials=7, parallel=1, strategy="grid", early_stopping="auto")
    stopped = [t for t in found.result.trials if t.status == "Stopped"]
    assert {t.params["lr"] for t in stopped} == {0.6, 0.7}
    for t in stopped:
        assert t.reason == "no better than the others at this epoch"
        assert len(t.curve) < 60
        assert JobDirectory.open(found.job.parent / t.name).state.status == "Stopped"


def test_finalists_are_trained_again_with_other_seeds(tmp_path: Path) -> None:
    found = run(tmp_path, finalists=2, finalist_seeds=2, trials=3)
    verdict = found.result.verdict
    assert verdict is not None
    assert [len(f.values) for f in verdict.finalists] == [2, 2]
    assert verdict.finalists[0].spread > 0, "the script uses its seed"


CONTROLLER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_tune_scripts import TRAIN, ask
from vizsla.workflow.observer import Silent
from vizsla.workflow.script_search import tune_script
tune_script(ask(Path(sys.argv[2]), TRAIN.format(sleep=0.4), trials=5), Silent())
"""


def test_a_killed_controller_finds_its_jobs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "controller.py"
    script.write_text(CONTROLLER)
    home = Path(os.environ["VIZSLA_HOME"])
    controller = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)])

    def started() -> list[TrialRecord]:
        try:
            return [t for t in load_tuning("tune-it").trials if (home / t.name / "logs.txt").exists()]
        except VizslaError:
            return []

    deadline = time.monotonic() + 60
    while len(started()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    before = {t.number: t for t in load_tuning("tune-it").trials}
    assert any(not t.ended for t in before.values()), "it was killed while trials ran"
    found = resume_script("tune-it", Silent()).result
    assert [t.number for t in found.trials] == [0, 1, 2, 3, 4]
    assert all(t.complete for t in found.trials)
    for number, was in before.items():
        assert found.trials[number].params == was.params
        if was.ended:
            assert found.trials[number] == was
    jobs = [p for p in home.iterdir() if p.name.startswith("tune-it-0")]
    assert len(jobs) == 5, "no trial has two jobs"
    for job in jobs:
        assert json.loads((job / "state.json").read_text())["attempts"] == 1, "a job that ran on was not started again"
        text = (job / "logs.txt").read_text()
        assert text.count("Valid Loss") == 3


def test_what_is_not_said_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="It is not said which metric decides"):
        objective_of(None, None, ["a", "b"])
    assert objective_of(None, None, ["valid loss"]).metric == "valid loss"
    request = ask(tmp_path, "print(1)")
    silent = ScriptSearch(request.spec, SearchRequest(objective=request.search.objective), "x")
    with pytest.raises(UsageError, match="It is not said what to search"):
        tune_script(silent, Silent())


def test_a_script_that_tunes_on_the_test_split_is_warned(tmp_path: Path) -> None:
    found = run(
        tmp_path, metrics=("average test loss=Valid Loss: ([0-9.e+-]+)",), objective="average test loss", trials=2
    )
    assert any("measured on the test split, by its name" in note for note in found.result.notes)
    assert "measured on the test split" in found.report.read_text()


OTHER = "print('Valid Loss: 7.0')"


def test_a_new_search_of_the_same_name_does_not_take_the_old_ones_trials(tmp_path: Path) -> None:
    space = {"ranges": {"lr": "0.1,0.2"}, "strategy": "grid", "trials": 2}
    first = run(tmp_path, "print('Valid Loss: 1.0')", **space)
    shutil.rmtree(first.job)
    second = run(tmp_path, OTHER, **space)
    assert [t.value for t in second.result.trials] == [7.0, 7.0]
    assert not {t.name for t in first.result.trials} & {t.name for t in second.result.trials}


def test_another_script_in_a_shared_study_is_refused_and_two_studies_share_no_jobs(tmp_path: Path) -> None:
    options: dict[str, Any] = {"ranges": {"lr": "0.1,0.2"}, "strategy": "grid", "trials": 2}
    for at, value in enumerate((1.0, 7.0)):
        text = f"print('Valid Loss: {value}')"
        asked = ask(tmp_path, text, study=str(tmp_path / f"{at}.db"), **options)
        found = tune_script(replace(asked, name=f"search-{at}"), Silent())
        assert [t.value for t in found.result.trials] == [value, value]
    asked = ask(tmp_path, OTHER + "  # other", study=str(tmp_path / "0.db"), **options)
    with pytest.raises(UsageError, match=r"searches another problem\. its trials are of other script"):
        tune_script(replace(asked, name="third"), Silent())


def test_a_job_that_is_not_this_searchs_is_not_taken_over(tmp_path: Path) -> None:
    request = ask(tmp_path, OTHER)
    executor = LocalExecutor(Path(os.environ["VIZSLA_HOME"]))
    trial = TrialRecord(0, "tune-it-000-abc", {"lr": 0.1}, "InProgress")
    foreign = JobsRunner(executor, request.spec, request.search.objective, "tune-it", study="one")
    foreign.start([trial])
    for study, static in (("two", {}), ("one", {"batch-size": 3})):
        runner = JobsRunner(executor, request.spec, request.search.objective, "tune-it", study=study, static=static)
        with pytest.raises(JobError, match=r"'tune-it-000-abc' is there already and is not this search's trial 0"):
            runner.start([trial])
        runner.end("over")  # ends nothing: it has no job
    outcomes: list[Any] = []
    while not outcomes:
        outcomes = foreign.step(lambda number, epoch, value: False)
    executor.close()
    assert outcomes[0].value == 7.0


LOCKER = """
import sys, time
from vizsla.tuning.study_lock import controlling
with controlling(sys.argv[1], "search", "the-first"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_study_that_another_search_writes_is_refused_with_its_name(tmp_path: Path) -> None:
    study = str(tmp_path / "s.db")
    first = subprocess.Popen([sys.executable, "-c", LOCKER, study], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        asked = ask(tmp_path, OTHER, study=study, trials=1)
        with pytest.raises(JobError, match=f"Another search writes this study: job the-first, process {first.pid}"):
            tune_script(asked, Silent())
        assert len(list(Path(os.environ["VIZSLA_HOME"]).glob("search-*"))) == 0, "no trial was started"
    finally:
        first.kill()
        first.wait()
    assert tune_script(replace(asked, name="after"), Silent()).result.best.value == 7.0


def test_the_seed_decides_a_scripts_search_and_a_study_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for at, seed in enumerate((1, 1, 2)):
        asked = replace(ask(tmp_path, OTHER, seed=seed, trials=2), name=f"seed-{at}")
        drawn.append([t.params for t in tune_script(asked, Silent()).result.trials])
    assert drawn[0] == drawn[1] != drawn[2]
    monkeypatch.chdir(tmp_path)
    asked = ask(tmp_path, OTHER, study="mine.db#it", trials=1)
    assert asked.search.study == f"{tmp_path}/mine.db#it"
    read = SearchRequest.from_dict(json.loads(json.dumps(asked.search.to_dict())))
    assert read == asked.search
    assert SearchRequest(study="postgresql://x/y").study == "postgresql://x/y"


def test_values_of_another_problem_are_only_first_guesses(tmp_path: Path) -> None:
    ranges = {"lr": "0.1,0.2,0.3", "wd": "1"}
    run(tmp_path, OTHER, ranges=ranges, trials=2, strategy="grid")
    same = replace(ask(tmp_path, OTHER, ranges=ranges, trials=1, warm_start=("tune-it",)), name="same")
    assert "its 2 trials that fit this space are known" in tune_script(same, Silent()).result.notes[0]
    ranges["wd"] = "2"
    other = replace(ask(tmp_path, OTHER, ranges=ranges, trials=1, warm_start=("tune-it",)), name="other")
    note = tune_script(other, Silent()).result.notes[0]
    assert "trained with other fixed hyperparameters: its best 2 configurations are tried first" in note


def test_a_last_round_that_fails_leaves_the_searchs_winner(tmp_path: Path) -> None:
    text = """
    import sys
    if "--seed" in sys.argv:
        sys.exit("no seeds here")
    print("Valid Loss:", sys.argv[sys.argv.index("--lr") + 1])
    """
    found = run(tmp_path, text, ranges={"lr": "0.1,0.2,0.3"}, strategy="grid", finalists=2, finalist_seeds=3, trials=3)
    assert found.result.verdict is None
    assert found.result.winner.params == {"lr": 0.1}
    assert "Finalist 0 is not judged: All of the first 3 trials failed" in found.result.notes[0]
    assert "it wins by its one value" in found.result.notes[-1]
    assert load_tuning("tune-it").best_hyperparameters() == {"lr": 0.1}
    assert load_tuning("tune-it").job.state.status == "Completed"
    page = found.report.read_text()
    assert "vizsla train --script SCRIPT" in page
    assert "vizsla fit" not in page


def test_the_last_round_heeds_the_time(tmp_path: Path) -> None:
    text = """
    import sys, time
    if "--seed" in sys.argv:
        time.sleep(100)
    print("Valid Loss: 0.5")
    """
    asked = ask(tmp_path, text, ranges={"lr": "0.1,0.2"}, strategy="grid", finalists=1, finalist_seeds=2, trials=2)
    limits = replace(asked.search.limits, minutes=0.08)
    found = tune_script(replace(asked, search=replace(asked.search, limits=limits)), Silent()).result
    assert found.verdict is None
    assert "Finalist 0 is not judged: 0.08 minutes are over." in found.notes
    assert found.winner.value == 0.5


def test_from_python_with_channels_and_fixed_hyperparameters(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        "import json, os, sys; names = [n for n in os.environ if n.startswith('SM_CHANNEL_')]\n"
        "print('SAID', json.dumps([sys.argv[1:], sorted(names)])); print('loss: 0.5')"
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    found = vizsla.tune(
        {"train": tmp_path / "a", "val": tmp_path / "b"},
        {"flag": ["true", "false"], "lr": "1e-3,1e-2"},
        script=script,
        metrics={"loss": "loss: (.*)"},
        direction="minimize",
        hyperparameters={"name": "007", "layers": [1, 2]},
        strategy="grid",
        trials=4,
        name="mine",
    )
    assert [t.value for t in found.search.trials] == [0.5] * 4
    said = set()
    for log in (tmp_path / "runs").glob("mine-0*/logs.txt"):
        argv, channels = json.loads(log.read_text().split("SAID ")[1].splitlines()[0])
        assert channels == ["SM_CHANNEL_TRAIN", "SM_CHANNEL_VAL"]
        given = dict(zip(argv[::2], argv[1::2], strict=True))
        assert (given["--name"], given["--layers"]) == ("007", "[1, 2]")
        said.add((given["--flag"], given["--lr"]))
    assert said == {("true", "1e-3"), ("false", "1e-3"), ("true", "1e-2"), ("false", "1e-2")}
    best = vizsla.load_tuning("mine").best_hyperparameters()
    assert (best["name"], best["layers"]) == ("007", [1, 2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"script": "s.py", "backbone": "resnet18", "seeds": 3},
            "seeds, backbone would have no effect",
        ),
        ({"metrics": {"a": "(b)"}}, "metrics would have no effect in a search without a script"),
        ({"data": {"train": "x"}}, "Heads are trained on one data set"),
        ({"space": {"lr": "0.1,0.2"}, "hyperparameters": {"lr": 1}}, "Parameter 'lr' comes twice"),
    ],
)
def test_what_cannot_be_meant_from_python(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        vizsla.tune(**({"data": "photos", "space": {"lr": "0.1..1"}} | options))
