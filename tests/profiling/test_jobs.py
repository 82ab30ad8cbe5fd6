"""Jobs are profiled, without a word in their scripts: reports, live findings, measured advice, switching it off."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path

import pytest
from commandline import vizsla

from tests.jobs.conftest import MakeSpec, run_to_end, source_of
from vizsla.errors import JobError, UsageError
from vizsla.jobs import profile_watch
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import FindingEvent
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.spec import ProfilerConfig, RuleConfiguration
from vizsla.profiling import JobProfile
from vizsla.profiling.operators import read_operators
from vizsla.workflow.profile import profile_job
from vizsla.workflow.profile_advice import advise_job

pytest.importorskip("torch")

SCRIPT = """
    import sys, time, torch
    from torch.utils.data import DataLoader, Dataset
    class Slow(Dataset):
        def __len__(self):
            return {items}
        def __getitem__(self, i):
            time.sleep({wait})
            return torch.zeros(8), i % 3
    model, loss_of = torch.nn.Linear(8, 3), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range({epochs}):
        for x, y in DataLoader(Slow(), 4):
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
        print("epoch", epoch)
"""


def script(items: int, wait: float, epochs: int) -> str:
    return textwrap.dedent(SCRIPT).format(items=items, wait=wait, epochs=epochs)


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profiled")


@pytest.fixture(scope="module")
def finished(_home: Path) -> Path:
    """A script's job that has ended: sixty steps that wait for their data; two of them were looked at closely."""
    executor = LocalExecutor(_home / "runs", cpus=2)
    spec = MakeSpec(_home)(script(120, 0.01, 2))
    detail = {"DetailedProfilingConfig": json.dumps({"StartStep": 5, "NumSteps": 2})}
    config = ProfilerConfig(profiling_interval_in_milliseconds=100, profiling_parameters=detail)
    rule = RuleConfiguration(
        rule_configuration_name="ProfilerReport",
        rule_parameters={"StepOutlier_stddev": "4", "opt_out_telemetry": "true"},
    )
    spec = spec.model_copy(update={"profiler_config": config, "profiler_rule_configurations": [rule]})
    state, _ = run_to_end(executor, executor.submit(spec, "waits"))
    assert state.status == "Completed"
    executor.close()
    (job,) = (path for path in (_home / "runs").iterdir() if (path / "job.json").exists())
    return job


def test_an_unmodified_script_has_a_profile_and_a_report_when_it_ends(finished: Path) -> None:
    profile = JobProfile(finished)
    assert len(profile.steps() or ()) == 60
    assert profile.sampler["interval_ms"] == 100
    assert profile.phases["waiting for data"] > 2.4
    assert profile.phases["initialisation, imports"] > 0
    assert sum(profile.phases.values()) == pytest.approx(profile.seconds)
    page = (finished / "output/profiler/profiler-output/profiler-report.html").read_text()
    assert len(page) < 2_000_000
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    for title in ("Training job summary", "Where the time went", "System usage", "Steps", "Data loading", "Operators"):
        assert f"<h2>{title}</h2>" in page
    assert "aten::" in page, "the operators of the two steps"
    assert json.loads((profile.folder / "framework" / "trace.json").read_text())["traceEvents"]
    rules = {path.stem: json.loads(path.read_text()) for path in (profile.folder / "profiler-reports").glob("*.json")}
    assert rules["Dataloader"]["RuleTriggered"] == 1
    assert rules["Dataloader"]["Details"]["num_workers"] == 0
    assert rules["StepOutlier"]["RuleParameters"].startswith("stddev:4")
    usage = rules["OverallSystemUsage"]["Details"]["CPU"]["algo-1"]
    assert set(usage) == {"max", "p99", "p95", "p50", "min"}
    assert list((profile.folder / "system").glob("*.parquet"))
    findings = [json.loads(line) for line in (finished / "output" / "findings.jsonl").read_text().splitlines()]
    assert {"data_stall", "dataloader"} <= {finding["rule"] for finding in findings}
    assert {finding["source"] for finding in findings} == {"profiler"}


def test_a_training_shorter_than_the_steps_to_look_at_ends_well(tmp_path: Path) -> None:
    """What version 2 of the SDK asks of every job; torch crashes where its profiler runs when the process ends."""
    executor = LocalExecutor(tmp_path / "runs", cpus=2)
    detail = {"DetailedProfilingConfig": '{"StartStep": 0, "NumSteps": 10, }'}
    spec = MakeSpec(tmp_path)(script(12, 0.0, 1))
    spec = spec.model_copy(update={"profiler_config": ProfilerConfig(profiling_parameters=detail)})
    handle = executor.submit(spec, "short")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    executor.close()
    recorded = read_operators(handle.path / "output/profiler/profiler-output")
    assert recorded is not None
    assert 1 <= recorded["steps"] < 10


def test_the_command_prints_and_keeps_it(finished: Path) -> None:
    output = vizsla("profile", finished, "--json", "--set", "DataStall.threshold=99.9").stdout
    document = json.loads(output.splitlines()[-1])
    assert document["steps"] == 60
    assert document["phases"]["waiting for data"] > 2.4
    assert document["rules"]["DataStall"]["RuleParameters"] == "threshold:99.9"
    assert "data_stall" not in {finding["rule"] for finding in document["findings"]}
    assert document["summary"]["initialization_seconds"] > 0
    assert set(document["time"]) == {"train", "eval", "other"}
    plain = vizsla("profile", finished).stdout
    assert "waiting for data" in plain
    assert "data_stall" in plain
    assert "do: set num_workers=" in plain
    assert str(finished / "output/profiler/profiler-output/profiler-report.html") in plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "Nothing.x=1"), "The profiler has no rule 'Nothing'"),
        (("--set", "DataStall.y=1"), "The rule DataStall has no parameter 'y'"),
        (("--change", "colour=red"), "The profiler cannot try 'colour'"),
        (("--change", "num_workers=many"), "num_workers is a number, and 'many' is none"),
        (("--advise", "--apply"), "has ended: nothing can be applied"),
        (("--fail-on", "nothing"), "There is no 'nothing'"),
    ],
)
def test_what_cannot_be_meant_is_said(finished: Path, words: tuple[str, ...], said: str) -> None:
    done = vizsla("profile", finished, *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr


def test_a_job_that_is_not_to_be_profiled_is_not(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = script_spec("import os; print('clock', os.environ.get('VIZSLA_PROFILER_CLOCK'))")
    off = spec.model_copy(update={"profiler_config": ProfilerConfig(disable_profiler=True)})
    for chosen, variable in ((off, ""), (spec, "off")):
        monkeypatch.setenv("VIZSLA_PROFILER", variable)
        handle = executor.submit(chosen, "unseen")
        run_to_end(executor, handle)
        assert "clock None" in (handle.path / "logs.txt").read_text()
        assert not (handle.path / "output" / "profiler").exists()
    with pytest.raises(JobError, match="was not profiled"):
        profile_job(JobDirectory.open(handle.path))


def test_a_document_that_cannot_be_meant_makes_no_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("print(1)")
    config = ProfilerConfig(profiling_interval_in_milliseconds=7)
    with pytest.raises(UsageError, match="every 7 ms"):
        executor.submit(spec.model_copy(update={"profiler_config": config}), "refused")
    rules = [RuleConfiguration(rule_configuration_name="NoSuchRule")]
    with pytest.raises(UsageError, match="no rule 'NoSuchRule'"):
        executor.submit(spec.model_copy(update={"profiler_rule_configurations": rules}), "refused")
    assert not list(executor.home.glob("*/job.json"))


def test_what_is_found_is_told_while_the_job_runs_and_changes_are_tried_within_it(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_watch, "_FIRST_SECONDS", 0.5)
    monkeypatch.setattr(profile_watch, "_SECONDS", 0.5)
    monkeypatch.setattr(profile_watch, "_SHARE", 1.0)
    handle = executor.submit(script_spec(script(240, 0.004, 40)), "live")
    told: dict[str, FindingEvent] = {}
    since, end = None, time.monotonic() + 40
    while "data_stall" not in told and time.monotonic() < end:
        poll = executor.poll([handle], since)
        since = poll.since
        told |= {e.finding["rule"]: e for e in poll.events if isinstance(e, FindingEvent)}
        time.sleep(0.1)
    assert "data_stall" in told
    job = JobDirectory.open(handle.path)
    notes: list[str] = []
    (trial,) = advise_job(job, ["num_workers=2"], apply=True, note=notes.append)
    assert trial["gains"], trial
    assert trial["gain"] > 1.2
    assert trial["low"] <= trial["gain"] <= trial["high"]
    assert trial["minutes_saved"] > 0
    assert "when its next epoch begins" in notes[0]
    end = time.monotonic() + 20
    while "goes on with num_workers=2" not in (handle.path / "logs.txt").read_text() and time.monotonic() < end:
        executor.poll([handle])
        time.sleep(0.1)
    log = (handle.path / "logs.txt").read_text()
    assert "[vizsla] tried num_workers=2: it gains" in log
    assert "[vizsla] the profiler goes on with num_workers=2" in log
    executor.stop(handle, grace=1.0)
    run_to_end(executor, handle)


def test_a_document_may_ask_that_advice_is_tried_and_used(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    config = ProfilerConfig(profiling_parameters={"Advise": "apply"})
    spec = script_spec(script(240, 0.004, 40)).model_copy(update={"profiler_config": config})
    handle = executor.submit(spec, "advised")
    end = time.monotonic() + 60
    while "goes on with" not in (log := _log(handle.path)) and time.monotonic() < end:
        executor.poll([handle])
        time.sleep(0.1)
    assert "[vizsla] tried num_workers=" in log, log
    assert "[vizsla] the profiler goes on with num_workers=" in log
    executor.stop(handle, grace=1.0)
    run_to_end(executor, handle)


def _log(job: Path) -> str:
    path = job / "logs.txt"
    return path.read_text() if path.exists() else ""


def test_advice_is_measured_beside_a_job_that_has_ended(finished: Path) -> None:
    job = JobDirectory.open(finished)
    with pytest.raises(UsageError, match="cannot try 'nothing'"):
        advise_job(job, ["nothing"], note=print)
    trials = {t["change"]: t for t in advise_job(job, ["num_workers=2", "pin_memory=False"], note=print)}
    assert trials["num_workers=2"]["gain"] > 1.3
    assert "minutes of training" in trials["num_workers=2"]["words"]
    assert trials["pin_memory=False"]["words"] == "it could not be tried: the loop's loader has it already"
    assert "Changes that were tried" in vizsla_page(finished)


def vizsla_page(job: Path) -> str:
    vizsla("profile", job)
    return (job / "output/profiler/profiler-output/profiler-report.html").read_text()


def test_what_a_script_calls_its_files_is_its_own_affair(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("import queue, struct; print('own', queue.OWN, struct.OWN)")
    code = source_of(spec)
    for name in ("queue", "struct"):
        (code / f"{name}.py").write_text("OWN = 1" if name == "queue" else "OWN = 2\nfrom _struct import *")
    handle = executor.submit(spec, "own")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", (handle.path / "logs.txt").read_text()
    assert "own 1 2" in (handle.path / "logs.txt").read_text()
