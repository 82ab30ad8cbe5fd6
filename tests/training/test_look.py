"""One look at each picture gives its record and its features, to the bits that two looks give."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vizsla.data.scan import scan
from vizsla.errors import ModelError, WeightsError
from vizsla.images import Limits, Preprocessing
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.models.export_process import BackboneExport
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.features import extract
from vizsla.training.look import FeatureLook

LIMITS = Limits(10**8, 10**8, 20)
REQUEST = BackboneSpec.resolve("test_resnet", random_init=True)


class Late:
    """An export that is there after a while, of a real backbone."""

    def __init__(self, backbone: ExportedBackbone, seconds: float) -> None:
        self._backbone, self._moment = backbone, time.monotonic() + seconds

    @property
    def ended(self) -> bool:
        return time.monotonic() >= self._moment

    @property
    def backbone(self) -> ExportedBackbone | None:
        return self._backbone if self.ended else None

    def wait(self) -> None:
        time.sleep(max(0.0, self._moment - time.monotonic()))

    def result(self) -> ExportedBackbone:
        self.wait()
        return self._backbone


@pytest.fixture(scope="module")
def photos(dogs: Path) -> list[Path]:
    return sorted(dogs.rglob("*.jpg"))[::130][:24]


def both(photos: list[Path], look: FeatureLook, cache: Path) -> np.ndarray:
    """Scan with the companion, and what is stored then: features by picture."""
    scanned = scan(Path("/"), [str(p)[1:] for p in photos], cache=cache, threads=2, limits=LIMITS, companion=look,
                   with_quality=False)  # fmt: skip
    look.finish(2)
    assert not scanned.errors
    return scanned.records["sha256"]


def stored(photos: list[Path], backbone: ExportedBackbone, cache: Path, keys: np.ndarray | None = None):
    engine = OnnxEngine(backbone.path)
    space = FeatureSpace(cache, backbone, engine)
    return extract(photos, space, backbone.preprocessing, engine, threads=2, keys=keys)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("known", [True, False])
def test_the_bits_are_those_of_two_looks_whenever_the_backbone_comes(
    seconds: float, known: bool, photos: list[Path], tiny_backbone: ExportedBackbone, tmp_path: Path
) -> None:
    preprocessing = tiny_backbone.preprocessing if known else None
    look = FeatureLook(Late(tiny_backbone, seconds), tmp_path / "one", preprocessing)  # type: ignore[arg-type]
    keys = both(photos, look, tmp_path / "one")
    if known or seconds == 0:
        assert look.computed == len(photos)
    one = stored(photos, tiny_backbone, tmp_path / "one", keys)
    assert one.computed == len(photos) - look.computed
    two = stored(photos, tiny_backbone, tmp_path / "two")
    rows = np.arange(len(photos))
    assert np.array_equal(one.table.take(rows), two.table.take(rows))
    assert np.array_equal(one.keys, two.keys)


def test_what_waited_for_another_preprocessing_is_thrown_away(
    photos: list[Path], tiny_backbone: ExportedBackbone, tmp_path: Path
) -> None:
    p = tiny_backbone.preprocessing
    wrong = Preprocessing(p.size, p.resize + 7, p.crop, p.interpolation, p.mean, p.std)
    look = FeatureLook(Late(tiny_backbone, 1.0), tmp_path / "one", wrong)  # type: ignore[arg-type]
    keys = both(photos, look, tmp_path / "one")
    one, two = (stored(photos, tiny_backbone, tmp_path / name, keys) for name in ("one", "two"))
    rows = np.arange(len(photos))
    assert np.array_equal(one.table.take(rows), two.table.take(rows))


def test_a_second_look_wants_only_what_lacks(
    photos: list[Path], tiny_backbone: ExportedBackbone, tmp_path: Path
) -> None:
    for count, computed in ((10, 10), (24, 14), (24, 0)):
        look = FeatureLook(Late(tiny_backbone, 0), tmp_path, tiny_backbone.preprocessing)  # type: ignore[arg-type]
        both(photos[:count], look, tmp_path)
        assert look.computed == computed


def test_what_waits_is_bounded(
    photos: list[Path], tiny_backbone: ExportedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = tiny_backbone.preprocessing.size**2 * 3
    monkeypatch.setattr("vizsla.training.look._WAITING_BYTES", 5 * size)
    look = FeatureLook(Late(tiny_backbone, 1.0), tmp_path, tiny_backbone.preprocessing)  # type: ignore[arg-type]
    most = 0
    append = look._waiting.append

    class Waiting(type(look._waiting)):  # type: ignore[misc]
        def append(self, item: object) -> None:
            nonlocal most
            super().append(item)
            most = max(most, len(self))

    look._waiting = Waiting()
    del append
    both(photos, look, tmp_path)
    assert 1 <= most <= 6  # two threads may add at a time
    assert look.computed == len(photos)


@pytest.fixture
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported torch."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("_without_torch")
def test_an_export_in_its_own_process_is_the_same_file(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    export = BackboneExport(REQUEST, tmp_path)
    backbone = export.result()
    assert (backbone.sha256, backbone.preprocessing) == (tiny_backbone.sha256, tiny_backbone.preprocessing)
    assert BackboneExport(REQUEST, settings().cache).ended, "an earlier export needs no process"


@pytest.mark.parametrize("process", [True, False])
def test_what_an_export_refuses_is_told(process: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("torch")
    if process:
        request.getfixturevalue("_without_torch")
    export = BackboneExport(BackboneSpec("resnet18x"), tmp_path)
    with pytest.raises(WeightsError, match="timm has no image model named 'resnet18x'") as error:
        export.result()
    assert "near: resnet18" in str(error.value.allowed)
    look = FeatureLook(export, tmp_path, None)
    assert look.short_side is None
    with pytest.raises(WeightsError):
        look.finish(1)


@pytest.mark.usefixtures("_without_torch")
def test_an_export_that_is_killed_is_told(tmp_path: Path) -> None:
    export = BackboneExport(REQUEST, tmp_path)
    export.close()
    with pytest.raises(ModelError, match="The process that exports the backbone has died"):
        export.result()
