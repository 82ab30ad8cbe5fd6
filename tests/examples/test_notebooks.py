"""The notebooks in examples/: small, and they run from top to bottom without a network."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_holds_no_outputs(path: Path) -> None:
    assert path.stat().st_size < 10_000
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[Any]:
    """The outputs of each code cell of a notebook that was run by a real kernel in ``folder``."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name, value in (environment | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": _path()}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def _path() -> str:
    places = [str(EXAMPLES.parent), str(EXAMPLES), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, places))


def html(outputs: list[Any]) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in outputs)


def plain(outputs: list[Any]) -> str:
    return "".join(output.get("data", {}).get("text/plain", "") for output in outputs)


def quiet(cells: list[Any]) -> bool:
    return not any(output.output_type in ("stream", "error") and output.name == "stderr" for c in cells for output in c)


@pytest.mark.slow
def test_a_folder_to_an_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = EXAMPLES.parent.parent / "shared"
    shared = Path(os.environ.get("VIZSLA_SHARED") or photos)
    real = {"PHOTOS": str(shared / "data/flowers"), "WEIGHTS": str(shared / "weights/mobilenetv2_100.tf_in1k")}
    given = real if all(Path(place).exists() for place in real.values()) else {}
    _, check, _, fit, table, prediction, *_, answer, again = run(
        EXAMPLES / "folder_to_endpoint.ipynb", tmp_path, monkeypatch, **given
    )
    assert "Looking at every picture" in html(check)
    assert "Findings" in html(check)
    for part in ("Computing features", "✓", "Confusion", "Pictures it gets wrong", "data:image/jpeg"):
        assert part in html(fit), part
    assert "recall_low" in html(table)
    assert "data:image/jpeg" in html(prediction)
    assert plain(answer).startswith("(")
    assert plain(again).startswith("Estimate(")
    assert quiet([check, fit, prediction, answer])


@pytest.mark.slow
def test_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, search, table, evaluation, note, again = run(EXAMPLES / "search.ipynb", tmp_path, monkeypatch)
    for part in ("24 of 24", "Best so far: trial", "The finalists", "Configurations"):
        assert part in html(search), part
    assert "FinalObjectiveValue" in html(table)
    assert "Confusion" in html(evaluation)
    assert "the default head of fit" in plain(note)
    assert "Computing features" not in html(again), "progress=False"
    assert quiet([search, again])


@pytest.mark.slow
def test_the_inside_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    _, chart, names, rules, bad = run(EXAMPLES / "debugger.ipynb", tmp_path, monkeypatch)
    assert any("image/png" in output.get("data", {}) for output in chart)
    assert "gradient/Sequential_0.weight" in plain(names)
    assert "Nothing found" in html(rules)
    assert "learning_rate_too_high" in plain(bad)
