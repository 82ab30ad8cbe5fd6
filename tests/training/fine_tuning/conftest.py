"""Pictures whose class shows in their colour, an untrained backbone, and a trainer on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.data import Dataset, open_dataset
from vizsla.models.backbone import load_backbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.callbacks import Callback
from vizsla.training.features import extract
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.trainer import FineTuner
from vizsla.training.head_data import HeadData
from vizsla.training.trainer import Frozen, Training


@dataclass
class Setting:
    """A data set of two colours, and what a trainer is given of it."""

    dataset: Dataset
    frozen: Frozen
    pictures: Pictures
    spec: BackboneSpec
    notes: list[str] = field(default_factory=list)

    def train(self, folder: Path, config: FineTuneConfig, callback: Callback | None = None, **more: Any) -> Training:
        """Train in a folder; what was noted is in ``notes``."""
        trainer = FineTuner(
            folder,
            config,
            self.spec,
            self.pictures,
            settings().cache,
            threads=1,
            note=self.notes.append,
            **more,
        )
        folder.mkdir(exist_ok=True)
        return trainer.train(self.frozen, callback or Callback())


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> BackboneSpec:
    """The tiny backbone's own weights as a file, as somebody's trained ones would be."""
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(load_backbone(BackboneSpec.resolve("test_resnet", random_init=True)).module.state_dict(), path)
    return BackboneSpec.resolve("test_resnet", path)


@pytest.fixture(scope="session")
def colours(
    tmp_path_factory: pytest.TempPathFactory,
    write_photos: Callable[..., Path],
    tiny_backbone: ExportedBackbone,
    spec: BackboneSpec,
) -> Setting:
    """The pictures and the features of all tests, which only read them."""
    splits = {"train": {"red": 12, "blue": 12}, "valid": {"red": 6, "blue": 6}}
    data = open_dataset(write_photos(tmp_path_factory.mktemp("colours") / "photos", splits=splits))
    engine = OnnxEngine(tiny_backbone.path)
    space = FeatureSpace(settings().cache, tiny_backbone, engine)
    extraction = extract(data, space, tiny_backbone.preprocessing, engine, threads=2)
    head_data = HeadData(
        extraction.table, data.labels, data.rows("train"), data.rows("valid"), len(data.classes), data.groups
    )
    keys = np.array([list(hashlib.sha256(data[row].read_bytes()).digest()) for row in range(len(data))], np.uint8)
    return Setting(data, Frozen(tiny_backbone, head_data, "colours", "ab" * 32), Pictures(data, keys), spec)


@pytest.fixture
def setting(colours: Setting) -> Setting:
    """The same with notes of its own."""
    return replace(colours, notes=[])


@pytest.fixture(autouse=True)
def _any_gain_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained backbone on a dozen pictures: what is tested is not how much it gains."""
    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
