"""What is typed for a search, and what it is taken for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import vizsla

TINY = ("--random-init", "--backbone", "test_resnet")


def search_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])["tuning"]
    return found


@pytest.mark.parametrize("name", ["show", "run"])
def test_a_folder_named_as_a_command(folder_of_photos: Callable[..., Path], name: str) -> None:
    data = folder_of_photos(name=name)
    asked = ("lr=0.01..0.1", "--trials", "2", "--finalists", "0", "--epochs", "2", *TINY, "--json")
    first = search_of(vizsla("tune", name, *asked, folder=data.parent))
    assert len(first["TrainingJobSummaries"]) == 2
    job = str(first["HyperParameterTuningJobName"])
    shown = vizsla("tune", "show", job, folder=data.parent)
    assert shown.returncode == 0, "a job's name that follows is shown"
    assert job in shown.stdout


def test_what_is_given_beside_a_search_is_fixed(folder_of_photos: Callable[..., Path], tmp_path: Path) -> None:
    data = str(folder_of_photos())
    stored = tmp_path / "fixed.json"
    stored.write_text('{"lr": 0.02, "epochs": 2}')
    few = (*TINY, "--json")
    for given in (("--lr", "0.02", "--epochs", "2"), ("--hp", "lr=0.02,epochs=2"), ("--hp", str(stored))):
        best = search_of(vizsla("fit", data, "--tune", "2", *given, *few))["BestHyperParameters"]
        assert (best["lr"], best["epochs"]) == (0.02, 2)
        assert {"weight_decay", "batch_size"} < set(best)
    best = search_of(vizsla("tune", data, "--trials", "2", "--hp", '{"lr": 0.02, "epochs": 2}', *few))
    assert best["BestHyperParameters"]["lr"] == 0.02


def test_a_search_that_is_patient(folder_of_photos: Callable[..., Path]) -> None:
    asked = ("--patience", "1", "--epochs", "1", "--trials", "9", "--finalists", "0", *TINY, "--json")
    found = search_of(vizsla("tune", str(folder_of_photos()), "wd=0.1..0.11", *asked))
    assert "in a row brought nothing better" in str(found["StoppedBecause"])


def test_minutes_and_files_for_a_script(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import sys, time; print(sys.argv[1:], flush=True); time.sleep(60)")
    (tmp_path / "values.yaml").write_text("lr: 0.5\nname: '007'\n")
    done = vizsla(
        "train", "--script", str(script), "--hp", str(tmp_path / "values.yaml"), "--minutes", "0.02", "--json"
    )
    assert "['--lr', '0.5', '--name', '007']" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "Stopped"
    refused = vizsla("train", "--script", str(script), "--minutes", "0")
    assert refused.returncode == 2
    assert "minutes=0.0 leaves no time" in refused.stderr
