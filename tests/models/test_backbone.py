"""Backbones and their weights: from where asked, never by silent chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.errors import UsageError, WeightsError
from vizsla.models.backbone import load_backbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported, find_exported, to_onnx
from vizsla.models.weights import BackboneSpec

timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")


def save_tensors(path: Path, name: str = "test_resnet", **options: Any) -> dict[str, Any]:
    """Write the state of an untrained model as a weights file."""
    from safetensors.torch import save_file

    torch.manual_seed(7)
    state: dict[str, Any] = timm.create_model(name, **options).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return state


def features_of(request: BackboneSpec) -> np.ndarray[Any, Any]:
    module = load_backbone(request).module
    with torch.inference_mode():
        pixels = torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160)
        return module.forward_head(module.forward_features(pixels), pre_logits=True).numpy()  # type: ignore[no-any-return]


def test_the_default_is_resnet18() -> None:
    assert BackboneSpec.resolve(None).backbone == "resnet18"


def test_unreachable_weights_are_an_error_that_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="The pretrained weights of test_vit cannot be had") as error:
        load_backbone(BackboneSpec.resolve("test_vit"))
    for way in ("with weights:", "network", "random_init=True"):
        assert way in str(error.value.do)


def test_an_unknown_backbone_names_its_neighbours() -> None:
    with pytest.raises(WeightsError, match="resnet81") as error:
        load_backbone(BackboneSpec.resolve("resnet81", random_init=True))
    assert "resnet18" in str(error.value)


def test_random_init_is_seeded() -> None:
    one, same, other = (
        features_of(BackboneSpec.resolve("test_resnet", random_init=True, seed=seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_weights_and_random_init_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        BackboneSpec.resolve("resnet18", tmp_path, random_init=True)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_weights_file_is_loaded_whatever_its_classifier(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save_tensors(path, num_classes=7)
    request = BackboneSpec.resolve("test_resnet", path)
    torch.manual_seed(7)
    module = timm.create_model("test_resnet", num_classes=7).eval()
    with torch.inference_mode():
        pixels = torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160)
        expected = module.forward_head(module.forward_features(pixels), pre_logits=True).numpy()
    assert np.array_equal(features_of(request), expected)


@pytest.mark.parametrize("wrap", ["state_dict", "model"])
def test_a_checkpoint_of_a_training_loop_is_unwrapped(tmp_path: Path, wrap: str) -> None:
    plain, wrapped = tmp_path / "plain.pth", tmp_path / "wrapped.pth"
    state = save_tensors(plain)
    torch.save({wrap: {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}, wrapped)
    one, other = (features_of(BackboneSpec.resolve("test_resnet", path)) for path in (plain, wrapped))
    assert np.array_equal(one, other)


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_no_code_in_a_pth_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_backbone(BackboneSpec.resolve("test_resnet", tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_architecture_are_named(tmp_path: Path) -> None:
    save_tensors(tmp_path / "w.safetensors", "test_vit")
    with pytest.raises(WeightsError, match="The weights do not fit test_resnet") as error:
        load_backbone(BackboneSpec.resolve("test_resnet", tmp_path / "w.safetensors"))
    assert "with backbone" in str(error.value)


def test_a_truncated_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be loaded into test_resnet") as error:
        load_backbone(BackboneSpec.resolve("test_resnet", path))
    assert error.value.where == str(path)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="do not exist"):
        BackboneSpec.resolve("resnet18", tmp_path / "none")
    with pytest.raises(WeightsError, match="not in the hub's layout"):
        BackboneSpec.resolve("resnet18", tmp_path)
    (tmp_path / "w.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"ends in \.safetensors, \.pth or \.pt, not '\.bin'"):
        BackboneSpec.resolve("resnet18", tmp_path / "w.bin")


def test_a_folder_names_its_own_architecture(tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    assert BackboneSpec.resolve(None, tmp_path).backbone == "test_resnet"
    with pytest.raises(WeightsError, match="These weights are of test_resnet, not of resnet18"):
        BackboneSpec.resolve("resnet18", tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="names no architecture"):
        BackboneSpec.resolve(None, tmp_path)


def test_changed_weights_are_another_key(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    save_tensors(path)
    before = BackboneSpec.resolve("test_resnet", path).key()
    assert BackboneSpec.resolve("test_resnet", path).key() == before
    path.write_bytes(path.read_bytes() + b" ")
    assert BackboneSpec.resolve("test_resnet", path).key() != before


def test_how_pictures_are_prepared_belongs_to_the_key(tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors")
    config: dict[str, Any] = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.25] * 3, "std": [0.5] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    alone = ensure_exported(BackboneSpec.resolve("test_resnet", tmp_path / "model.safetensors"), tmp_path / "cache")
    folder = ensure_exported(BackboneSpec.resolve(None, tmp_path), tmp_path / "cache")
    assert folder.preprocessing.mean == (0.25, 0.25, 0.25)
    assert alone.preprocessing.mean != folder.preprocessing.mean
    config["pretrained_cfg"]["crop_pct"] = 1.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    changed = ensure_exported(BackboneSpec.resolve(None, tmp_path), tmp_path / "cache")
    assert changed.preprocessing.resize != folder.preprocessing.resize


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_the_export_answers_as_torch_does(name: str) -> None:
    backbone = load_backbone(BackboneSpec.resolve(name, random_init=True))
    engine = OnnxEngine(to_onnx(backbone.module, backbone.preprocessing))
    size = backbone.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    features, feature_map = engine.features_and_map(pixels)
    with torch.inference_mode():
        map_expected = backbone.module.forward_features(torch.from_numpy(backbone.preprocessing.normalise(pixels)))
        expected = backbone.module.forward_head(map_expected, pre_logits=True).numpy()
    assert features.shape == (3, backbone.features)
    assert np.allclose(features, expected, atol=1e-4 * np.abs(expected).max())
    assert np.allclose(feature_map, map_expected.numpy(), atol=1e-4 * float(map_expected.abs().max()))


def test_real_weights_are_the_ones_asked_for(mobilenet_weights: Path) -> None:
    from safetensors.numpy import load_file

    module = load_backbone(BackboneSpec.resolve("mobilenetv2_100", mobilenet_weights)).module
    stored = load_file(mobilenet_weights / "model.safetensors")["conv_stem.weight"]
    assert np.array_equal(module.state_dict()["conv_stem.weight"].numpy(), stored)


def test_an_export_is_made_once_and_a_damaged_one_again(tmp_path: Path) -> None:
    request = BackboneSpec.resolve("test_resnet", random_init=True, seed=3)
    first = ensure_exported(request, tmp_path)
    written = first.path.stat().st_ino
    assert ensure_exported(request, tmp_path) == first
    assert first.path.stat().st_ino == written
    first.path.write_bytes(b"damaged")
    assert find_exported(request, tmp_path) is None
    assert ensure_exported(request, tmp_path) == first
    assert first.path.read_bytes() != b"damaged"


def test_two_exports_at_once_in_one_process(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    specs = [BackboneSpec.resolve("test_resnet", random_init=True, seed=seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda spec: ensure_exported(spec, tmp_path), specs))
    assert len({backbone.sha256 for backbone in made}) == 2
