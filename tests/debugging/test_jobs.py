"""The debugger and jobs: live, afterwards, in a search, and on the command line."""

from __future__ import annotations

import http.server
import json
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.errors import JobError, UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import FindingEvent
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.rule_watch import RuleWatch, rule_job_summary
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.spec_input import with_actions

pytest.importorskip("torch")

EXPLODES = """
    import sys, time, torch
    from vizsla.debugging import get_hook
    torch.manual_seed(0)
    model = torch.nn.Linear(20, 3)
    hook = get_hook(create_if_not_exists=True)
    hook.register_module(model)
    optimizer, loss_of = torch.optim.SGD(model.parameters(), 1e38), torch.nn.CrossEntropyLoss()
    for step in range(600):
        optimizer.zero_grad()
        loss_of(model(torch.randn(6, 20)), torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        optimizer.step()
        time.sleep(0.05)
"""


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    made = LocalExecutor(tmp_path / "runs", cpus=2)
    yield made
    made.close()


@pytest.fixture
def script_spec(tmp_path: Path) -> MakeSpec:
    return MakeSpec(tmp_path)


class Listener(http.server.BaseHTTPRequestHandler):
    heard: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def webhook() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/found"
    server.shutdown()


def test_a_job_is_stopped_by_a_rule_and_others_are_told(
    executor: LocalExecutor, script_spec: MakeSpec, webhook: str, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    actions = [
        "exploding_tensor=stop",
        f"any=webhook:{webhook}",
        f'exploding_tensor=command:echo "$VIZSLA_JOB" > {told}',
    ]
    spec = with_actions(script_spec(EXPLODES), actions)
    handle = executor.submit(spec, "explodes")
    state, events = run_to_end(executor, handle)
    assert state.status == "Stopped"
    assert str(state.reason).startswith("the rule exploding_tensor spoke at step ")
    findings = [event.finding for event in events if isinstance(event, FindingEvent)]
    assert "exploding_tensor" in {finding["rule"] for finding in findings}
    lines = (handle.path / "output" / "findings.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == findings, "each is told once"
    end = time.monotonic() + 10
    while time.monotonic() < end and not (told.exists() and told.read_text() and Listener.heard):
        time.sleep(0.05)
    assert told.read_text().strip() == handle.name
    assert {message["rule"] for message in Listener.heard} >= {"exploding_tensor"}
    summary = {entry["RuleConfigurationName"]: entry for entry in rule_job_summary(JobDirectory(handle.path), spec)}
    assert summary["exploding_tensor-command"]["RuleEvaluationStatus"] == "IssuesFound"
    assert summary["overfit"]["RuleEvaluationStatus"] == "NoIssuesFound"


def test_others_are_told_of_what_is_found_at_the_very_end(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job has ended before its rules are asked for the first time."""
    look = RuleWatch.look
    monkeypatch.setattr(RuleWatch, "look", lambda watch, *, over=False: look(watch, over=True) if over else None)
    told = tmp_path / "told"
    spec = with_actions(
        script_spec(EXPLODES.replace("range(600)", "range(12)").replace("0.05", "0")),
        [f'any=command:sleep 1; echo "$VIZSLA_JOB" > {told}', "exploding_tensor=stop"],
    )
    handle = executor.submit(spec, "short")
    assert run_to_end(executor, handle)[0].status == "Completed"
    for thread in (t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()):
        thread.join()  # as the process does at its end
    assert told.read_text().strip() == handle.name
    assert "stop came too late" in (handle.path / "output" / "debug-actions.log").read_text()


LOWERS = EXPLODES.replace("1e38", "0.05")
LOWERS += """
        left = 5 if hook.lr_factor == 1 else left - 1
        if not left: break
    print("factor", hook.lr_factor, "rate", optimizer.param_groups[0]["lr"])
"""
RULES = """
from vizsla.debugging import Rule

class Always(Rule):
    severity = "error"
    def invoke_at_step(self, step):
        return step == 3
"""


def test_a_rule_of_ones_own_lowers_the_learning_rate_of_a_script(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(RULES)
    parameters = {
        "rule_to_invoke": "Always",
        "source_s3_uri": str(rules),
        "action_json": '[{"name": "lower_learning_rate", "factor": "0.1"}]',
    }
    spec = TrainingJobSpec.read(
        script_spec(LOWERS).to_dict()
        | {"DebugRuleConfigurations": [{"RuleConfigurationName": "mine", "RuleParameters": parameters}]}
    )
    handle = executor.submit(spec, "lowers")
    state, _ = run_to_end(executor, handle)
    log = (handle.path / "logs.txt").read_text()
    assert state.status == "Completed", log
    assert "factor 0.1 rate 0.05" in log, "a schedule goes on from its own value"
    assert "the learning rate is multiplied by 0.1 from step" in log


def test_a_script_without_a_hook_is_watched_by_its_metrics(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        for step in range(120): print(f"training loss: {1.6 + step % 3 / 100}")
    """
    spec = script_spec(text, metrics={"train_loss": "training loss: ([0-9.]+)"})
    handle = executor.submit(spec, "plain")
    assert run_to_end(executor, handle)[0].status == "Completed"
    line = json.loads((handle.path / "output" / "findings.jsonl").read_text())
    assert line["rule"] == "loss_not_decreasing"


def test_the_command_asks_afterwards(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec(EXPLODES.replace("range(600)", "range(12)").replace("0.05", "0"))
    handle = executor.submit(spec, "short")
    run_to_end(executor, handle)
    said = vizsla("debug", handle.path, "--json")
    assert said.returncode == 0, said.stderr
    result = json.loads(said.stdout.splitlines()[-1])
    assert "exploding_tensor" in {finding["rule"] for finding in result["findings"]}
    assert {"rule", "severity", "step", "evidence", "message", "fix"} <= set(result["findings"][0])
    page = Path(result["report"]).read_text()
    assert "<svg" in page
    assert "exploding_tensor" in page
    assert vizsla("debug", handle.path, "--fail-on", "error").returncode == 1
    assert vizsla("debug", handle.path, "--fail-on", "error", "--rule", "overfit").returncode == 0
    assert "exploding_tensor" in (handle.path / "output" / "findings.jsonl").read_text(), "other rules' findings stay"
    wrong = vizsla("debug", handle.path, "--rule", "exploding_tensors")
    assert wrong.returncode == 2
    assert "There is no rule 'exploding_tensors'; near it: exploding_tensor" in wrong.stderr
    wrong = vizsla("debug", handle.path, "--set", "overfit=1")
    assert "'overfit=1' sets no parameter of a rule" in wrong.stderr


def test_a_job_that_recorded_nothing(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    from vizsla.workflow.debug import debug_job

    handle = executor.submit(script_spec("print(1)"), "nothing")
    run_to_end(executor, handle)
    with pytest.raises(JobError, match=r"recorded nothing that rules could look at(.|\n)*get_hook"):
        debug_job(JobDirectory(handle.path))


def test_a_document_that_cannot_be_asked_makes_no_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    unknown = [{"RuleConfigurationName": "x", "RuleParameters": {"rule_to_invoke": "VanishingGradients"}}]
    spec = TrainingJobSpec.read(script_spec("print(1)").to_dict() | {"DebugRuleConfigurations": unknown})
    with pytest.raises(UsageError, match="near it: vanishing_gradient"):
        executor.submit(spec, "wrong")
    gone = [{"RuleConfigurationName": "x", "RuleParameters": {"rule_to_invoke": "Mine", "source_s3_uri": "/gone.py"}}]
    spec = TrainingJobSpec.read(script_spec("print(1)").to_dict() | {"DebugRuleConfigurations": gone})
    with pytest.raises(UsageError, match=r"no file '/gone.py' with rules"):
        executor.submit(spec, "wrong")
    hook = {"HookParameters": {"save_interval": "never"}}
    spec = TrainingJobSpec.read(script_spec("print(1)").to_dict() | {"DebugHookConfig": hook})
    with pytest.raises(UsageError, match="'never' is no number of steps"):
        executor.submit(spec, "wrong")
    assert not list(executor.home.glob("*"))


TRIAL = """
    import argparse, torch
    from vizsla.debugging import get_hook
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    lr = parser.parse_args().lr
    torch.manual_seed(0)
    model = torch.nn.Linear(20, 3)
    get_hook(create_if_not_exists=True).register_module(model)
    optimizer, loss_of = torch.optim.SGD(model.parameters(), lr), torch.nn.CrossEntropyLoss()
    for step in range(400 if lr > 1 else 20):
        optimizer.zero_grad()
        loss = loss_of(model(torch.randn(6, 20)), torch.tensor([0, 1, 2, 0, 1, 2]))
        loss.backward()
        optimizer.step()
        print(f"loss: {loss.item()}", flush=True)
        if lr > 1:
            import time; time.sleep(0.1)
"""


@pytest.mark.slow
def test_a_hopeless_trial_of_a_search_is_stopped_and_the_study_says_by_which_rule(tmp_path: Path) -> None:
    script = tmp_path / "trial.py"
    script.write_text(textwrap.dedent(TRIAL))
    said = vizsla(
        *("tune", "lr=0.05,1e38", "--script", script, "--metric", "loss=loss: ([0-9.]+)", "--minimize", "--trials", 2),
        *("--strategy", "grid", "--name", "search", "--json"),
    )
    assert said.returncode == 0, said.stderr
    trials = json.loads(said.stdout.splitlines()[-1])["tuning"]["TrainingJobSummaries"]
    reasons = {float(trial["TunedHyperParameters"]["lr"]): trial["FailureReason"] for trial in trials}
    assert reasons[0.05] is None
    assert str(reasons[1e38]).startswith("the rule exploding_tensor spoke at step ")
