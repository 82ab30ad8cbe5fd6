"""Which backbones a request names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vizsla.errors import UsageError, WeightsError
from vizsla.models.candidates import backbone_specs, in_hub_cache


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of folders of weights; nobody reads the tensors here."""
    for name, architecture in (("resnet18.a1_in1k", "resnet18"), ("small", "mobilenetv2_050")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"architecture": architecture}))
        (tmp_path / name / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_names_with_commas_are_several_each_once() -> None:
    specs = backbone_specs("resnet18, resnet50,resnet18")
    assert [spec.backbone for spec in specs] == ["resnet18", "resnet50"]


def test_each_name_finds_its_own_folder(shelf: Path) -> None:
    specs = backbone_specs("small,resnet18", shelf)
    assert [(spec.backbone, spec.weights) for spec in specs] == [
        ("mobilenetv2_050", shelf / "small"),
        ("resnet18", shelf / "resnet18.a1_in1k"),
    ]


def test_auto_is_all_on_the_shelf(shelf: Path) -> None:
    assert {spec.backbone for spec in backbone_specs("auto", shelf)} == {"resnet18", "mobilenetv2_050"}


def test_auto_without_a_shelf_is_what_the_hub_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "hub" / "models--timm--resnet18.a1_in1k" / "snapshots" / "abc"
    kept.mkdir(parents=True)
    (tmp_path / "hub" / "models--timm--resnet50.a1_in1k" / "snapshots" / "abc").mkdir(parents=True)  # broken off
    (kept / "model.safetensors").write_bytes(b"")
    assert in_hub_cache({"HF_HOME": str(tmp_path)}) == ["resnet18.a1_in1k"]
    for name, value in (("HF_HOME", str(tmp_path)), ("HF_HUB_CACHE", "")):
        monkeypatch.setenv(name, value)
    assert [spec.backbone for spec in backbone_specs("auto")] == ["resnet18.a1_in1k"]


@pytest.mark.parametrize(
    ("backbone", "random_init", "words"),
    [
        ("small,resnet50", False, "The weights of resnet50 are not at hand"),
        ("resnet18.other", False, "The weights of resnet18.other are not at hand"),
        (None, False, "This folder holds the weights of 2 backbones"),
        ("auto,small", False, "auto stands for all backbones at hand"),
        ("small,,resnet18", False, "has an empty place"),
        ("auto", True, "chooses among trained backbones"),
    ],
)
def test_what_cannot_be_meant(shelf: Path, backbone: str | None, random_init: bool, words: str) -> None:
    with pytest.raises((UsageError, WeightsError)) as caught:
        backbone_specs(backbone, None if random_init else shelf, random_init=random_init)
    assert words in str(caught.value)
    assert caught.value.allowed or caught.value.do


def test_one_set_of_weights_is_not_for_two(shelf: Path) -> None:
    with pytest.raises(UsageError, match="2 backbones are named, and one set of weights is given") as caught:
        backbone_specs("resnet18,resnet50", shelf / "small")
    assert "a folder that holds a folder for each" in str(caught.value.allowed)


def test_nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="No weights of any backbone are at hand") as caught:
        backbone_specs("auto")
    assert "connect to the network once" in str(caught.value.do)
