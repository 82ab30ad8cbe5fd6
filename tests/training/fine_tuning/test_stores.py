"""Pictures are decoded once, views are drawn by their seed, and activations are what the trunk says."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.training.fine_tuning.conftest import Setting
from vizsla.errors import StorageError
from vizsla.images import Limits, Preprocessing
from vizsla.training.fine_tuning.augmentation import Recipe
from vizsla.training.fine_tuning.pixels import PixelStore


def opened(setting: Setting, cache: Path) -> PixelStore:
    rows, preprocessing = setting.frozen.data.train, setting.frozen.backbone.preprocessing
    return PixelStore.open(cache, setting.dataset, setting.pictures.keys, rows, preprocessing, threads=2)


def test_a_picture_is_stored_as_it_is_decoded_and_not_decoded_again(setting: Setting, tmp_path: Path) -> None:
    store, preprocessing = opened(setting, tmp_path / "c"), setting.frozen.backbone.preprocessing
    rows = setting.frozen.data.train
    for row in rows:
        expected = preprocessing.scaled(setting.dataset[int(row)].read_bytes(), Limits.from_settings())
        assert np.array_equal(store.picture(int(row)), expected)
        assert min(expected.shape[:2]) == preprocessing.resize
    away = setting.dataset.root.rename(tmp_path / "away")
    try:
        again = opened(setting, tmp_path / "c")
        assert np.array_equal(again.picture(int(rows[0])), store.picture(int(rows[0])))
    finally:
        away.rename(setting.dataset.root)
    other_process = pickle.loads(pickle.dumps(store))
    assert np.array_equal(other_process.picture(int(rows[-1])), store.picture(int(rows[-1])))
    assert len(pickle.dumps(store)) < 2000, "the pictures themselves do not travel"


def test_what_is_measured_on_is_what_the_saved_model_sees(setting: Setting, tmp_path: Path) -> None:
    rows, preprocessing = setting.frozen.data.valid, setting.frozen.backbone.preprocessing
    store = PixelStore.open(
        tmp_path, setting.dataset, setting.pictures.keys, rows, preprocessing, threads=2, as_model_input=True
    )
    for row in rows:
        expected = preprocessing(setting.dataset[int(row)].read_bytes(), Limits.from_settings())
        assert np.array_equal(store.picture(int(row)), expected)


def test_a_full_disk_is_an_error_in_words(setting: Setting, small_disk: Path) -> None:
    with pytest.raises(StorageError, match="The disk is full") as caught:
        opened(setting, small_disk)
    assert "`vizsla cache`" in str(caught.value)
    assert not list(small_disk.rglob("*.pixels")), "nothing half-written is taken for a store"


def test_of_a_panorama_the_middle_is_stored(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "wide.png"
    Image.fromarray(np.zeros((10, 200, 3), np.uint8)).save(path)
    scaled = Preprocessing(8, 10, "center", "bilinear", (0.5,) * 3, (0.5,) * 3).scaled(
        path.read_bytes(), Limits.from_settings()
    )
    assert scaled.shape == (10, 40, 3)


@pytest.mark.parametrize("name", ["none", "light", "medium", "strong"])
def test_a_draw_follows_from_its_seed_alone(name: str) -> None:
    preprocessing = Preprocessing(32, 40, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    recipe = Recipe(name, True, preprocessing)  # type: ignore[arg-type]
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    alone = [recipe(picture, [0, 1, seed]) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: recipe(picture, [0, 1, seed]), range(24)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
    assert all(draw.shape == (32, 32, 3) and draw.dtype == np.uint8 for draw in alone)
    assert len({draw.tobytes() for draw in alone}) == (2 if name == "none" else 24)


def test_without_augmentation_and_flips_it_is_the_middle() -> None:
    preprocessing = Preprocessing(32, 40, "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    draw = Recipe("none", False, preprocessing)(picture, [7])
    assert np.array_equal(draw, picture[4:36, 14:46])
