"""Names are data: what a script or a person calls something is printed as it is, whatever brackets are in it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from commandline import vizsla
from rich.console import Console

from vizsla.cli import console
from vizsla.progress.bars import AS_IT_IS
from vizsla.progress.trials import table
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord

NAMES = ["[val] loss", "[/b]", "[link=x]y[/link]", "[red]", ":dog: share", "a\\[b]", "[bold"]
TYPED = [name for name in NAMES if "=" not in name]


def test_metrics_and_hyperparameters_of_a_job(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text('print("loss=0.5")')
    words = [word for name in TYPED for word in ("--metric", rf"{name}=loss=(\S+)")]
    for name in ("[/x]", ":dog:"):
        words += ["--hp", f"{name}=[/{name}]"]
    done = vizsla("train", "--script", str(script), "--name", "j", *words)
    assert done.returncode == 0, done.stderr
    assert [line[2:].rpartition("  ")[0] for line in done.stdout.splitlines()] == TYPED
    shown = vizsla("jobs", "show", "j")
    assert shown.returncode == 0, shown.stderr
    for name in TYPED:
        assert f"{name} (last)" in shown.stdout
    for name in ("[/x]", ":dog:"):
        assert f"  {name:<22} [/{name}]" in shown.stdout
    assert "sagemaker_" not in shown.stdout, "they are not the person's"
    assert f"s.py of {tmp_path}" in shown.stdout


def test_what_ended_a_job_and_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "[/b] runs"
    monkeypatch.setenv("VIZSLA_HOME", str(home))
    script = tmp_path / "s.py"
    script.write_text('raise ValueError("[/b] :dog:")')
    done = vizsla("train", "--script", str(script), "--name", "j")
    assert "j is Failed: ValueError: [/b] :dog: (exit code 1)" in done.stderr
    listed = vizsla("jobs", "list").stdout
    assert f"Jobs in {home}" in listed
    assert "[/b] :dog:" in listed


def test_notes_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        trial = TrialRecord(0, "t-000", {name: name}, "Completed", value=0.5)
        monkeypatch.setenv("COLUMNS", "120")
        out = console.results()
        out.file = io.StringIO()
        out.print(table([trial], Objective(name, "minimize")))
        assert out.file.getvalue().count(name) == 4, "title, column, value, objective"
        told = Console(file=io.StringIO(), **AS_IT_IS)
        monkeypatch.setattr(console, "errors", told)
        console.print_note(f"{name} is left out")
        assert told.file.getvalue() == f"note {name} is left out\n"  # type: ignore[attr-defined]


def test_a_class_in_a_check(tmp_path: Path, folder_of_photos: object) -> None:
    make = folder_of_photos
    root = make({"[/b] red": 6, ":dog: green": 6})  # type: ignore[operator]
    (root / "[/b] red" / "empty.jpg").write_bytes(b"")
    done = vizsla("check", str(root))
    assert "Traceback" not in done.stderr
    assert "[/b] red/empty.jpg" in done.stdout
