"""What follows a finding, outside the training itself."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vizsla.debugging.configuration import Action
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.loop_hook import CONTROL
from vizsla.files import write_json

_SECONDS = 10.0
_COMMAND_SECONDS = 300.0
_ON_TRAINING = ("stop", "lower_learning_rate", "roll_back")


def act(
    action: Action,
    finding: RuleFinding,
    job: str,
    folder: Path,
    *,
    stop: Callable[[str], None],
    note: Callable[[str], None],
    has_ended: bool = False,
) -> None:
    """Do it; what takes time does so in a thread, which the process waits for at its end.

    Parameters
    ----------
    folder:
        The store: a hook reads there what it shall do.
    stop:
        Ends the training, with the reason.
    note:
        Is told what was done, or why it was not.
    has_ended:
        Whether the training is over: others are still told, and nothing can be changed.
    """
    if has_ended and action.name in _ON_TRAINING:
        note(f"{finding.rule}: {action.name} came too late: the training had ended")
    elif action.name == "stop":
        stop(f"the rule {finding.rule} spoke at step {finding.step:,}: {finding.message}")
    elif action.name == "lower_learning_rate":
        factor = float(action.value) * _asked(folder)
        write_json(folder / CONTROL, {"lr_factor": factor, "reason": finding.rule})
        note(f"{finding.rule}: the hook is asked to multiply the learning rate by {factor:g}")
    elif action.name in ("webhook", "command"):
        run = _post if action.name == "webhook" else _run
        threading.Thread(target=run, args=(action.value, finding, job, note)).start()
    elif action.name == "roll_back":
        note(f"{finding.rule}: only Vizsla's own training can be rolled back; a script has its own checkpoints")
    else:
        note(f"{finding.rule}: {action.name} is not sent from here; a webhook or a command can")


def _asked(folder: Path) -> float:
    try:
        return float(json.loads((folder / CONTROL).read_bytes()).get("lr_factor", 1.0))
    except (OSError, ValueError):
        return 1.0


def _message(finding: RuleFinding, job: str) -> dict[str, object]:
    return {"job": job, "text": f"{job}: {finding.note}", **finding.to_dict()}


def _post(url: str, finding: RuleFinding, job: str, note: Callable[[str], None]) -> None:
    data = json.dumps(_message(finding, job)).encode()
    try:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=_SECONDS):
            pass
    except (OSError, ValueError) as error:
        note(f"{finding.rule}: the webhook {url} did not take it: {error}")


def _run(command: str, finding: RuleFinding, job: str, note: Callable[[str], None]) -> None:
    """The finding is in the variable VIZSLA_FINDING, as JSON, and the job's name in VIZSLA_JOB."""
    environment = {"VIZSLA_FINDING": json.dumps(_message(finding, job)), "VIZSLA_JOB": job}
    try:
        result = subprocess.run(
            command,
            shell=True,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        note(f"{finding.rule}: the command {command!r} did not run: {error}")
        return
    if result.returncode:
        note(f"{finding.rule}: the command {command!r} ended with {result.returncode}: {result.stderr.strip()[-200:]}")
