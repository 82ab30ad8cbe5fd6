"""``job.json``: one envelope for all kinds; those of the first form, which had none, can still be read and run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.errors import JobError, UsageError
from vizsla.jobs import executors, kinds
from vizsla.jobs.controller import executor_of, summaries
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.envelope import Envelope
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.spec_input import read_spec
from vizsla.jobs.states import State, write_state
from vizsla.tuning.request import SearchRequest
from vizsla.workflow.document import from_job
from vizsla.workflow.tune import is_script

OLD = Path(__file__).with_name("first_form")


def old(home: Path, file: str) -> JobDirectory:
    """A job's directory with a ``job.json`` as Vizsla wrote it before there was an envelope."""
    fields = json.loads((OLD / f"{file}.json").read_text())
    job = JobDirectory.create("train", "x", {}, home, fields["name"])
    shutil.copy(OLD / f"{file}.json", job.path / "job.json")
    return JobDirectory.open(job.path)


@pytest.mark.parametrize(
    ("file", "kind", "parent", "process", "resume"),
    [
        ("fit", "train", None, True, "vizsla jobs resume fit"),
        ("heads", "tune", None, True, "vizsla tune resume heads"),
        ("script", "train", None, True, "vizsla jobs resume script"),
        ("scripts", "tune", None, False, "vizsla tune resume scripts"),
        ("trial", "train", "scripts", True, "vizsla jobs resume scripts-000-8e49aaee"),
    ],
)
def test_a_job_of_the_first_form_is_what_it_was(
    tmp_path: Path, file: str, kind: str, parent: str | None, process: bool, resume: str
) -> None:
    job = old(tmp_path, file)
    assert (job.kind, job.parent, job.executor, job.resume_command) == (kind, parent, "local", resume)
    spec = kind_of(job.kind).spec(job.document)
    assert next(channel.uri for channel in spec.input_data_config).startswith("file:///data/")
    assert kind_of(job.kind).is_process(spec) is process
    (listed,) = summaries(tmp_path)
    assert (listed.kind, listed.parent) == (kind, parent)


def test_searches_of_the_first_form_are_gone_on_with(tmp_path: Path) -> None:
    heads, scripts = old(tmp_path, "heads"), old(tmp_path, "scripts")
    asked = json.loads((OLD / "heads.json").read_text())["about"]["tuning"]
    request = from_job(heads.document)
    assert request.tune == SearchRequest.from_dict(asked)
    assert (request.random_init, request.head.seed) == (True, 3)
    assert (is_script(heads), is_script(scripts)) == (False, True)
    assert from_job(old(tmp_path, "fit").document).tune is None


def test_a_trial_of_the_first_form_is_taken_over_by_its_own_study(tmp_path: Path) -> None:
    """Its study stood in ``about``; now the document says it, as SageMaker's does."""
    trial = old(tmp_path, "trial")
    assert trial.document["ExperimentConfig"] == {
        "ExperimentName": "14c53eb96f6f4b2292fd134359295327",
        "TrialName": "scripts-000-8e49aaee",
    }
    assert trial.document["HyperParameters"]["lr"] == "0.1"


def test_a_script_of_the_first_form_is_run_again(executor: LocalExecutor) -> None:
    job = old(executor.home, "script")
    (job.path / "code").mkdir()
    (job.path / "code" / "hpo.py").write_text("import sys; print('loss: 0.5', *sys.argv[1:])")
    (job.path / "state.json").unlink()
    write_state(job.path / "state.json", State("Failed", "2026-11-29T07:04:50.627Z", "2026-11-29T07:04:51.627Z"))
    handle = Handle.of(job)
    assert run_to_end(executor, executor.resume(handle))[0].status == "Completed"
    assert executor.logs(handle)[0] == "loss: 0.5 --lr 0.1\n"


def test_the_envelope_of_a_new_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("print(1)", name="mine")
    handle = executor.submit(spec, "x", parent="whole")
    fields = json.loads((handle.path / "job.json").read_text())
    assert list(fields) == ["name", "kind", "executor", "created", "parent", "document"]
    assert fields["document"] == spec.to_dict()
    assert Envelope.of(fields).to_dict() == fields
    run_to_end(executor, handle)
    for file in (handle.path / "job.json", OLD / "script.json"):
        assert read_spec(file, "again").training_job_name == "again"


def test_a_kind_and_an_executor_of_a_later_version_are_named(tmp_path: Path) -> None:
    job = JobDirectory.create("dance", "x", {}, tmp_path, "new", executor="moon")
    with pytest.raises(JobError, match="Jobs of the kind 'dance' are not known to this version") as refused:
        kind_of(job.kind).spec(job.document)
    assert refused.value.allowed == ", ".join(kinds.names())
    with pytest.raises(UsageError, match="There is no executor 'moon'") as caught:
        executor_of(job)
    assert caught.value.allowed == ", ".join(executors.names())
    assert str(job.path / "job.json") in str(caught.value.where)
    (listed,) = summaries(tmp_path)
    assert listed.status == "Unreadable"
    assert "There is no executor 'moon'" in str(listed.problem)
