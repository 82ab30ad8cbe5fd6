"""What tests of whole fits share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vizsla.models.backbone import load_backbone
from vizsla.models.weights import BackboneSpec
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest, FitResult


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that see, and weights that are all zero."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    for name, factor in (("test_resnet", 1.0), ("test_byobnet", 0.0)):
        module = load_backbone(BackboneSpec.resolve(name, random_init=True)).module
        state = {key: (tensor * factor).contiguous() for key, tensor in module.state_dict().items()}
        (folder / name).mkdir()
        save_file(state, folder / name / "model.safetensors")
        config: dict[str, Any] = {key: module.pretrained_cfg[key] for key in ("interpolation", "mean", "std")}
        config |= {"input_size": [3, 48, 48], "crop_pct": 0.9, "crop_mode": "center", "first_conv": "conv1"}
        config |= {"num_classes": 1000, "classifier": module.pretrained_cfg["classifier"]}
        document = {"architecture": name, "num_classes": 1000, "pretrained_cfg": config}
        (folder / name / "config.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Path:
    """Photos of two classes, which tests only read."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", {"red": 30, "green": 30})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[FitRequest], FitResult]:
    """A fit in this process that nothing disturbs, in a home of its own."""

    def run(asked: FitRequest) -> FitResult:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VIZSLA_HOME", str(tmp_path_factory.mktemp("undisturbed")))
            patch.setenv("VIZSLA_TRACKING", "off")
            return fit(asked)

    return run
