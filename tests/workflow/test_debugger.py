"""The debugger on Vizsla's own training, as the callback that it is."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.spec import BUILTIN
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.workflow.debug import debug_job
from vizsla.workflow.debugger import Debugger

torch = pytest.importorskip("torch")
RULES = """
from vizsla.debugging import Rule

class Always(Rule):
    severity = "error"
    def invoke_at_step(self, step):
        return step == 3
"""


def _configuration(name: str, **parameters: str) -> dict[str, Any]:
    return {"RuleConfigurationName": name, "RuleParameters": parameters}


def _train(
    tmp_path: Path, configurations: list[dict[str, Any]], steps: int = 12
) -> tuple[Debugger, list[str], Stop | None]:
    job = JobDirectory.create("train", "flowers", {"DebugRuleConfigurations": configurations}, tmp_path / "runs")
    job.output.mkdir(exist_ok=True)
    told: list[str] = []
    debugger = Debugger(job, told.append)
    net = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    debugger.on_network(net, 3)
    stop = None
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(net(torch.randn(6, 8)), torch.tensor([0, 1, 2] * 2))
        debugger.on_loss(loss.item())
        loss.backward()
        optimizer.step()
        stop = stop or debugger.on_step(step)
    debugger.close()
    return debugger, told, stop


def test_a_documents_own_rules_and_compat_hold_here_too(tmp_path: Path) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(RULES)
    told_of = tmp_path / "told"
    command = json.dumps([{"name": "command", "command": f"echo heard > {told_of}"}, {"name": "stoptraining"}])
    debugger, told, _ = _train(
        tmp_path,
        [
            _configuration("mine", rule_to_invoke="Always", source_s3_uri=str(rules), action_json=command),
            _configuration("aws", rule_to_invoke="TensorVariance", max_threshold="0", compat="aws"),
            _configuration("gone", rule_to_invoke="Never", source_s3_uri=str(tmp_path / "gone.py")),
        ],
    )
    assert {"mine", "aws"} <= {finding.configuration for finding in debugger.findings}
    assert any(text.startswith("The rule gone is off: There is no file") for text in told)
    assert any("stop came too late: the training had ended" in text for text in told), told
    for thread in (t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()):
        thread.join()  # as the process does at its end
    assert told_of.read_text() == "heard\n"


def test_after_one_depth_the_rules_begin_anew_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizsla.workflow.debugger._SECONDS", 0.0)
    job = JobDirectory.create("train", "flowers", {}, tmp_path / "runs")
    job.output.mkdir(exist_ok=True)
    told: list[str] = []
    debugger = Debugger(job, told.append)
    for _ in ("last", "full"):
        net = torch.nn.Linear(8, 3)
        debugger.on_network(net, 3)
        for epoch in (1, 2):
            for _ in range(3):
                loss = torch.nn.functional.cross_entropy(net(torch.randn(6, 8)), torch.tensor([0, 1, 2] * 2))
                debugger.on_loss(loss.item())
                loss.backward()
            debugger.on_step(3 * epoch)
            debugger.on_epoch(EpochMetrics(epoch, 1.0, 1.0, 0.5), 2)
    debugger.close()
    assert told == []


def test_what_our_own_loop_does_on_purpose_is_no_fault_afterwards_either(tmp_path: Path) -> None:
    """Blocks behind a cut are given activations, which look like pictures that nobody has scaled."""
    builtin = {"AlgorithmSpecification": {"TrainingInputMode": "File", "ContainerEntrypoint": list(BUILTIN)}}
    job = JobDirectory.create("train", "flowers", builtin, tmp_path / "runs")
    job.output.mkdir(exist_ok=True)
    debugger = Debugger(job, print)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 6, 3))
    debugger.on_network(net, 3)
    for step in range(3):
        loss = torch.nn.functional.cross_entropy(net(40 * torch.randn(6, 3, 8, 8)), torch.tensor([0, 1, 2] * 2))
        debugger.on_loss(loss.item())
        loss.backward()
        debugger.on_step(step)
    debugger.close()
    assert "check_input_images" not in debug_job(job).rules
    (found,) = {finding.rule for finding in debug_job(job, ["check_input_images"]).findings}
    assert found == "check_input_images"
