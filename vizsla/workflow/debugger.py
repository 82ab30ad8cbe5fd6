"""The debugger on Vizsla's own training: a hook on the network, and the rules between its epochs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from vizsla.debugging.actions import act
from vizsla.debugging.configuration import Action, RulesOfJob
from vizsla.debugging.evaluation import Compat, Evaluation
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.findings import append_findings
from vizsla.reports.debug import write_page
from vizsla.training.callbacks import Callback, Elsewhere, Note
from vizsla.training.trained import Adjust, EpochMetrics, Stop

_SECONDS = 5.0
NOT_HERE = ("wrong_mode", "frozen_mismatch", "wrong_normalization", "check_input_images", "optimizer_misses_layer")
"""Rules on what our own loop does on purpose: blocks in evaluation mode, frozen ones, inputs that are no pictures."""


class Debugger(Callback):
    """Watches every network that trains; a head at its optimum has nothing to watch.

    The rules, their parameters and what follows a finding are those of ``DebugRuleConfigurations`` of the job's
    document. A fault in here never breaks training: it is told, and nothing more is looked at.

    Parameters
    ----------
    note:
        Is told what is found.
    """

    def __init__(self, job: JobDirectory, note: Note) -> None:
        self._job, self._note = job, note
        self._asked = self._rules()
        self._hook: Any = None
        self._evaluation: Evaluation | None = None
        self._due = 0.0
        self._stop: Stop | None = None
        self._adjust: Adjust | None = None
        self.findings: list[RuleFinding] = []

    def _rules(self) -> RulesOfJob:
        return RulesOfJob.of(self._job.document.get("DebugRuleConfigurations") or ())

    def on_network(self, network: Any, classes: int) -> None:
        from vizsla.debugging.hook import Hook

        self.close()  # a depth has ended, another begins
        self._asked = self._rules()  # they remember what they have seen
        folder = self._job.output / "debug"
        self._hook = hook = Hook(folder, out_of_job=True, watches_losses=False)
        hook.describe(classes=classes, loss={"name": "cross_entropy", "reduction": "mean"})
        hook.register_module(network)
        rules = [rule for rule in self._asked.rules if rule.configuration or rule.name not in NOT_HERE]
        custom, broken = self._asked.custom(folder)
        compat: Compat = "aws" if self._asked.is_aws else "vizsla"
        self._evaluation = Evaluation(folder, rules, compat=compat, custom=custom, broken=broken)
        for text in self._evaluation.remarks:
            self._note(text)
        self._evaluation.skip()
        self._due = time.monotonic() + _SECONDS

    def on_loss(self, loss: float) -> None:
        self._hook.record_tensor_value("training_loss", loss)

    def on_step(self, step: int) -> Stop | None:
        if self._evaluation is not None and time.monotonic() >= self._due:
            self._look()
        return self._stop

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        if self._hook is not None:
            before = self._hook.mode
            self._hook.switch_mode(ModeKeys.EVAL)
            self._hook.record_tensor_value("validation_loss", metrics.valid_loss)
            self._hook.switch_mode(before)
            self._hook.flush()
            self._look()
        return self._stop

    def adjustment(self) -> Adjust | None:
        change, self._adjust = self._adjust, None
        return change

    def elsewhere(self) -> Elsewhere:
        return partial(_debugger, self._job.path.absolute())

    def _look(self, *, over: bool = False) -> None:
        try:
            self._ask(over)
        except Exception as error:  # noqa: BLE001
            self._evaluation = None
            self._note(f"The debugger's rules are off: {type(error).__name__}: {error}")

    def _ask(self, over: bool) -> None:
        if self._evaluation is None:
            return
        found = self._evaluation.look(over=over)
        append_findings(self._job.output, found)
        self.findings += found
        for finding in found:
            self._note(f"{finding.severity}: {finding.note}")
            for action in self._asked.actions_of(finding):
                self._act(action, finding, over)
        for name, why in self._evaluation.newly_broken().items():
            self._note(f"The rule {name} is off: {why}")
        self._due = time.monotonic() + _SECONDS

    def _act(self, action: Action, finding: RuleFinding, over: bool) -> None:
        if not over and action.name == "lower_learning_rate":
            self._adjust = Adjust(finding.rule, finding.message, float(action.value))
        elif not over and action.name == "roll_back":
            self._adjust = Adjust(finding.rule, finding.message, 0.5, roll_back=True)
        else:
            folder = self._job.output / "debug"

            def stop(why: str) -> None:
                self._stop = Stop(finding.rule, why)

            act(action, finding, self._job.name, folder, stop=stop, note=self._note, has_ended=over)

    def close(self) -> None:
        """Write what waits, and ask the rules what only the whole training shows."""
        if self._hook is not None:
            self._hook.close()
            self._look(over=True)
            if self._evaluation is not None:
                write_page(self._job, self._evaluation)
            self._hook = self._evaluation = None


def _debugger(job: Path, note: Note) -> Debugger:
    return Debugger(JobDirectory.open(job), note)
