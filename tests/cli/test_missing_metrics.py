"""A metric that never gets a value is named at the end, by every door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import vizsla as command

import vizsla

SCRIPT = """
import vizsla
print("canary=dog;"); print("acc: 93.5%"); print("loss=1.5e-05")
print("f1: 0.5\\nf1: 1 (best)\\nf1: 2 (best)")
vizsla.log_metric("own", 1.0)
print("no end of the line", end="")
"""
METRICS = {
    "[never]": "nothing: ([0-9]+)",
    "canary": "canary=(.*);",
    "acc": "acc: (.*)",
    "loss": r"loss=(\S+)",
    "own": "own metric: (.*)",
    "f1": "f1: (.*)",
}
WORDS = {
    "[never]": "its regular expression matched nothing in the log",
    "canary": "its regular expression matched 'dog', which is no number",
    "acc": "its regular expression matched '93.5%', which is no number",
}
MISSING = {"[never]": None, "canary": "dog", "acc": "93.5%"}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "s.py"
    path.write_text(SCRIPT)
    return path


def test_on_the_command_line(script: Path) -> None:
    words = [word for name, regex in METRICS.items() for word in ("--metric", f"{name}={regex}")]
    done = command("train", "--script", str(script), "--name", "j", "--json", *words)
    assert done.returncode == 0
    lines = [f"[vizsla: metric {name!r} has no value: {why}]" for name, why in WORDS.items()]
    lines += [
        "[vizsla: 2 times metric 'f1' has no value: its regular expression matched '1 (best)', which is no number]"
    ]
    assert done.stderr.splitlines()[6:11] == ["no end of the line", *lines]
    answer = json.loads(done.stdout)
    assert answer["missing_metrics"] == MISSING
    assert answer["metrics"] == {"loss": 1.5e-05, "own": 1.0, "f1": 0.5}
    shown = command("jobs", "show", "j").stdout
    for name, why in WORDS.items():
        assert f"{name + ' (no value)':<24} {why}" in shown
    assert json.loads(command("jobs", "show", "j", "--json").stdout)["missing_metrics"] == MISSING


def test_from_python(script: Path) -> None:
    parts: list[str] = []
    result = vizsla.train(script, metrics=METRICS, on_log=parts.append)
    assert result.missing_metrics == MISSING
    assert "metric 'canary' has no value" in "".join(parts)


def test_of_a_script_that_failed_the_failure_is_told(script: Path) -> None:
    script.write_text("raise ValueError('first')")
    done = command("train", "--script", str(script), "--name", "j", "--metric", r"loss=loss=(\S+)")
    assert "ValueError: first" in done.stderr
    assert "has no value" not in done.stderr + command("jobs", "show", "j").stdout
