"""Several backbones are tried on a sample, and the one that answers best trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.test_fit_checkpoint import resume
from vizsla.models.weights import BackboneSpec
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.workflow import backbone_choice
from vizsla.workflow.fit import fit
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest

Folder = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("one_core")


class Tables(Silent):
    def __init__(self) -> None:
        self.rows: list[Sequence[str]] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.rows += rows


def test_the_backbone_that_sees_is_chosen(folder_of_photos: Folder, shelf: Path) -> None:
    data, tables = folder_of_photos({"red": 20, "green": 20}), Tables()
    result = fit(FitRequest(data, "auto", shelf), tables)
    assert result.load().card.backbone.name == "test_resnet"
    assert {row[0] for row in tables.rows} == {"test_resnet", "test_byobnet"}
    assert any(text.startswith("test_resnet is the backbone that trains.") for text in tables.notes)
    document = json.loads((result.job / "checkpoints" / backbone_choice.FILE).read_text())
    assert {prospect["backbone"]: prospect["right"] for prospect in document["prospects"]}["test_resnet"] == 1.0
    page = result.report.read_text("utf-8")
    assert backbone_choice.TITLE in page
    assert "test_byobnet" in page


def test_depths_are_tried_too(folder_of_photos: Folder, shelf: Path) -> None:
    tables, config = Tables(), FineTuneConfig("last", epochs=1, batch_size=8, views=2)
    data = folder_of_photos({"red": 20, "green": 20})
    result = fit(FitRequest(data, "test_resnet,test_byobnet", shelf, head=config), tables)
    depths = {(row[0], row[1].split()[0]) for row in tables.rows}
    assert depths == {(name, depth) for name in ("test_resnet", "test_byobnet") for depth in ("the", "from")}
    assert all("not tried" not in row for row in tables.rows)
    assert result.load().card.backbone.name == "test_resnet"


def test_a_choice_stays_after_an_end(folder_of_photos: Folder, shelf: Path, tmp_path: Path) -> None:
    class EndsIt(Silent):
        def stage(self, name: str, total: int | None = None) -> None:
            if name == "features":
                raise KeyboardInterrupt

    data = folder_of_photos({"red": 20, "green": 20})
    with pytest.raises(KeyboardInterrupt):
        fit(FitRequest(data, "auto", shelf, name="mine"), EndsIt())
    job = tmp_path / "runs" / "mine"
    path = job / "checkpoints" / backbone_choice.FILE
    document = json.loads(path.read_text())
    other = 1 - document["chosen"]
    path.write_text(json.dumps(document | {"chosen": other}))  # as if chance had decided otherwise before
    assert "is the backbone that trains" not in resume(job)
    assert json.loads((job / "model" / "model.json").read_text())["backbone"]["name"] != "test_resnet"


def test_one_that_cannot_end_in_time_is_left_out(folder_of_photos: Folder, shelf: Path) -> None:
    data, tables = folder_of_photos({"red": 20, "green": 20}), Tables()
    real = backbone_choice.Chooser._candidate

    def slow(chooser: backbone_choice.Chooser, spec: BackboneSpec, backbone: Any) -> Any:
        candidate = real(chooser, spec, backbone)
        return replace(candidate, rate=0.01 if spec.backbone == "test_resnet" else 1000.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone_choice.Chooser, "_candidate", slow)
        fit(FitRequest(data, "auto", shelf, minutes=1), tables)
    assert any("test_resnet is left out: its features of all pictures alone would take" in t for t in tables.notes)


def test_those_that_there_is_no_time_to_export_are_left_out(
    folder_of_photos: Folder, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tables = folder_of_photos({"red": 20, "green": 20}), Tables()
    monkeypatch.setattr(backbone_choice, "_SHARE", 0.0)
    result = fit(FitRequest(data, "test_resnet,test_byobnet", shelf, minutes=1), tables)
    assert "Left out, as there is no time to try them: test_byobnet." in tables.notes
    assert result.load().card.backbone.name == "test_resnet"
