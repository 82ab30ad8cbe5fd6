"""Whatever something is called, it is recorded, under a name of its own that MLflow takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.recorded_names import RecordedNames
from vizsla.jobs.spec import TrainingJobSpec

mlflow = pytest.importorskip("mlflow")

ODD = {
    "val/acc": "val/acc",
    "val//acc": "val/acc_2",
    "/lead": "lead",
    "trail/": "trail",
    "./here": "_/here",
    "a/../b": "a/__/b",
    ".": "_",
    "..": "__",
    "": "__2",
    "mAP@[.5]": "mAP__.5_",
    "mAP@(.5)": "mAP__.5__2",
    "two\nlines": "two_lines",
    "x" * 251: "x" * 250,
    "x" * 252: "x" * 248 + "_2",
    "y" * 249 + "/tail": "y" * 249,
    "é: a b": "é: a b",
}


def test_names_are_rewritten_and_none_is_taken_for_another() -> None:
    names = RecordedNames()
    names.add(ODD)
    assert names.by_name == ODD
    again = RecordedNames(json.loads(json.dumps(names.by_name)))
    assert {name: again[name] for name in reversed(list(ODD))} == ODD
    assert again["/val/acc"] == "val/acc_3"


@given(st.lists(st.text(st.sampled_from("ab./: @\n") | st.characters(), max_size=12), max_size=30))
def test_mlflow_takes_every_name_and_each_once(texts: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    names = RecordedNames()
    for text in texts:
        for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
            validate(names[text])
    assert len({names[text] for text in texts}) == len(set(texts))


SCRIPT = f"""
import json, vizsla
for at, name in enumerate({[*ODD]!r}):
    vizsla.log_metric(name, at, step=at)
vizsla.log_metric("far", 1.0, step=2**70)
vizsla.log_metric("far", 2.0, step=-2**70)
vizsla.log_metric("\\ud800", 3.0, step=0)
"""


def test_a_job_with_odd_names_everywhere_is_recorded_whole(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    from vizsla.jobs.recorder import Recorder

    hyper = {"lr": "1e-3", "a@b": "1", "a_b": "2", "../up": "3", "n" * 251: "4", "on": True}
    tags = {"team=vision": "x", "team@vision": "y", "mlflow.runName": "mine", "vizsla.directory": "mine"}
    document = script_spec(SCRIPT, hyper, data={"train": tmp_path}, name="odd").to_dict()
    document["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
    handle = executor.submit(TrainingJobSpec.read(document), "x")
    assert run_to_end(executor, handle)[0].status == "Completed", (handle.path / "logs.txt").read_text()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert Recorder(uri, executor.home).record(JobDirectory(handle.path)).status == "Completed"
    (run,) = mlflow.MlflowClient(uri).search_runs(["1"])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "odd")
    assert run.data.metrics == {name: at for at, name in enumerate(ODD.values())} | {"far": 1.0, "__3": 3.0}
    steps = [m.step for m in mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "far")]
    assert sorted(steps) == [1 - 2**63, 2**63 - 1]
    own = {"lr": "1e-3", "a_b": "2", "a_b_2": "1", "__/up": "3", "n" * 250: "4", "on": "True"}
    assert run.data.params.items() >= (own | {"channel.train": tmp_path.as_uri()}).items()
    assert (
        run.data.tags.items()
        >= {
            "team_vision": "x",
            "team_vision_2": "y",
            "tag.mlflow.runName": "mine",
            "tag.vizsla.directory": "mine",
            "vizsla.directory": str(handle.path),
        }.items()
    )


def test_a_recorder_that_was_killed_goes_on_with_the_same_names(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    from vizsla.jobs.recorder import Recorder

    text = """
        import os, sys, vizsla
        again = os.path.exists(os.environ["SM_CHECKPOINT_DIR"] + "/x")
        open(os.environ["SM_CHECKPOINT_DIR"] + "/x", "w")
        for name in ("val/acc", "val//acc") if again else ("val//acc",):
            vizsla.log_metric(name, len(name), step=again)
        sys.exit(not again)
    """
    handle = executor.submit(script_spec(text, name="twice"), "x")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_to_end(executor, handle)
    Recorder(uri, executor.home).record(JobDirectory(handle.path))
    run_to_end(executor, executor.resume(handle))
    Recorder(uri, executor.home).record(JobDirectory(handle.path))
    (run,) = mlflow.MlflowClient(uri).search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"val/acc": 8.0, "val/acc_2": 7.0}
