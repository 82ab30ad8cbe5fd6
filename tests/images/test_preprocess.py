"""One way from bytes to model input, the same as the libraries' own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vizsla.errors import ModelError
from vizsla.images import Limits, Preprocessing

LIMITS = Limits(max_bytes=64_000_000, max_pixels=100_000_000, seconds=20)
CONFIG: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.875,
    "crop_mode": "center",
}
Paint = Callable[..., Image.Image]


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def reference(data: bytes, config: dict[str, Any]) -> np.ndarray[Any, Any]:
    """timm's own evaluation transform (torchvision on Pillow), before it normalises."""
    timm_data = pytest.importorskip("timm.data")
    transform = timm_data.create_transform(**{**config, "mean": (0, 0, 0), "std": (1, 1, 1)})
    tensor = transform(Image.open(io.BytesIO(data)).convert("RGB"))
    return (tensor.numpy().transpose(1, 2, 0) * 255).round()  # type: ignore[no-any-return]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("size", [(350, 256), (256, 350), (224, 224), (301, 227), (90, 70), (640, 481)])
def test_agrees_with_timms_transform(size: tuple[int, int], crop_pct: float, interpolation: str, paint: Paint) -> None:
    config = {**CONFIG, "crop_pct": crop_pct, "interpolation": interpolation}
    data = jpeg(paint(1, size=size), quality=95)
    found = Preprocessing.from_timm(config)(data, LIMITS)
    assert found.shape == (224, 224, 3)
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(float) - reference(data, config))
    assert difference.mean() < 0.3
    assert difference.max() <= 6


def test_real_photos_differ_by_less_than_half_a_grey_level(flowers: Path) -> None:
    preprocessing = Preprocessing.from_timm(CONFIG)
    for path in sorted(flowers.rglob("*.jpg"))[::400]:
        data = path.read_bytes()
        assert np.abs(preprocessing(data, LIMITS).astype(float) - reference(data, CONFIG)).mean() < 0.5, path


def test_a_scaled_decode_differs_by_less_than_one_grey_level(flowers: Path) -> None:
    preprocessing = Preprocessing.from_timm(CONFIG)
    for path in sorted(flowers.rglob("*.jpg"))[::800]:
        large = Image.open(path).convert("RGB").resize((2000, 1500), Image.Resampling.LANCZOS)
        data = jpeg(large, quality=92)
        assert np.abs(preprocessing(data, LIMITS).astype(float) - reference(data, CONFIG)).mean() < 1, path


def test_squash_uses_the_whole_picture(paint: Paint) -> None:
    config = {**CONFIG, "crop_mode": "squash", "crop_pct": 1.0}
    data = jpeg(paint(3, size=(400, 200)), quality=95)
    assert np.abs(Preprocessing.from_timm(config)(data, LIMITS) - reference(data, config)).mean() < 0.3


def test_normalise_is_the_networks_view(paint: Paint) -> None:
    preprocessing = Preprocessing.from_timm(CONFIG)
    pixels = preprocessing(jpeg(paint(1)), LIMITS)
    normal = preprocessing.normalise(pixels[None])
    assert normal.shape == (1, 3, 224, 224)
    assert normal.dtype == np.float32
    expected = (pixels[10, 20] / 255 - np.array(CONFIG["mean"])) / np.array(CONFIG["std"])
    assert np.allclose(normal[0, :, 10, 20], expected, atol=1e-6)


def test_survives_the_way_through_json() -> None:
    preprocessing = Preprocessing.from_timm(CONFIG)
    assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing
    with pytest.raises(ModelError, match="preprocessing cannot be read"):
        Preprocessing.from_dict({"size": 1})


@pytest.mark.parametrize("change", [{"input_size": (1, 28, 28)}, {"crop_mode": "border"}, {"interpolation": "random"}])
def test_what_is_not_offered_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="The backbone wants") as error:
        Preprocessing.from_timm({**CONFIG, **change})
    assert "square, center or squash" in str(error.value)
