"""``vizsla.train``: a script as a job, from Python."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import vizsla
from vizsla.errors import JobError, UsageError

SCRIPT = """
import argparse, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--note")
lr, note = vars(parser.parse_args()).values()
photos = sorted(os.listdir(os.environ["SM_CHANNEL_TRAINING"]))
print(f"Testing Loss: {lr * 2}, {note!r}, {photos}")
import vizsla
vizsla.log_metric("seen", len(photos), step=1)
open(os.environ["SM_MODEL_DIR"] + "/weights", "w").write("w")
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "hpo.py").write_text(SCRIPT)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    return folder


def test_a_script_runs_and_says_what_it_left(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = vizsla.train(
        "hpo.py",
        source_dir=source,
        data=source.parent / "photos",
        hyperparameters={"lr": 0.25, "note": "a 'b'\n"},
        metrics={"average test loss": r"Testing Loss: ([0-9.]+)"},
        name="mine",
    )
    assert capfd.readouterr().out == "Testing Loss: 0.5, \"a 'b'\\n\", ['a.jpg']\n"
    assert (result.state.status, result.job) == ("Completed", source.parent / "runs" / "mine")
    assert result.metrics == {"average test loss": 0.5, "seen": 1.0}
    assert result.model is not None
    assert (result.model / "weights").read_text() == "w"
    assert result.archive is not None
    with tarfile.open(result.archive) as archive:
        assert archive.getnames() == ["weights"]


def test_a_failure_is_raised_and_a_stop_is_told(source: Path) -> None:
    (source / "bad.py").write_text("print('so far'); raise ValueError('no photos')")
    lines: list[str] = []
    with pytest.raises(JobError, match="failed: ValueError: no photos") as caught:
        vizsla.train(source / "bad.py", name="bad", on_log=lines.append)
    assert "vizsla jobs logs bad" in str(caught.value.do)
    assert "".join(lines).startswith("so far\n")
    (source / "long.py").write_text("import time; time.sleep(60)")
    result = vizsla.train(source / "long.py", minutes=1 / 60)
    assert result.state.status == "Stopped"
    assert "MaxRuntimeInSeconds allows (1 s)" in str(result.state.reason)
    assert (result.model, result.archive) == (None, None)


def test_what_cannot_be_meant(source: Path) -> None:
    script = source / "hpo.py"
    with pytest.raises(JobError, match=r"There is no script '.*other.py'"):
        vizsla.train(source / "other.py")
    with pytest.raises(UsageError, match="'a b' cannot be the name of a channel"):
        vizsla.train(script, data={"a b": source})
    with pytest.raises(UsageError, match="There are no data for channel 'training'"):
        vizsla.train(script, data="nowhere")
    with pytest.raises(UsageError, match="is not a metric") as caught:
        vizsla.train(script, metrics={"loss": "no group"})
    assert "a group around the number" in str(caught.value.allowed)
    assert not (source.parent / "runs").exists()
