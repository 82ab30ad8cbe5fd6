"""A backbone as an ONNX file, made once and kept by its content. The other file that imports torch."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vizsla import shared_cache
from vizsla.errors import ModelError
from vizsla.files import sha256_file
from vizsla.images import Preprocessing
from vizsla.models.engine import OnnxEngine
from vizsla.models.weights import BackboneSpec

if TYPE_CHECKING:
    from vizsla.models.backbone import TorchBackbone

_OPSET = 17
_TOLERANCE = 2e-3
"""Largest difference allowed between torch and ONNX Runtime, relative to the features' largest value."""
_EXPORTER = threading.Lock()
"""torch's is one a process: a fit that was broken off may still be at it when the next one begins."""


@dataclass(frozen=True)
class ExportedBackbone:
    """A backbone that ONNX Runtime can run.

    ``path`` is its file in the cache, ``sha256`` the digest of that file and so its identity.
    """

    name: str
    weights: str
    path: Path
    sha256: str
    preprocessing: Preprocessing
    features: int


def find_exported(spec: BackboneSpec, cache: Path) -> ExportedBackbone | None:
    """The export of an earlier run, if there is one and its content is what it was. Needs no torch."""
    index = _index(spec, cache)
    shared_cache.fetch_files(index.parent, [index.name])
    try:
        entry = json.loads(index.read_text("utf-8"))
        path = index.with_name(f"{entry['sha256']}.onnx")
        shared_cache.fetch_files(index.parent, [path.name])
        if sha256_file(path) != entry["sha256"]:
            return None
        os.utime(path)  # used now: what bounds the cache looks at this
        return ExportedBackbone(
            name=spec.backbone,
            weights=spec.describe(),
            path=path,
            sha256=entry["sha256"],
            preprocessing=Preprocessing.from_dict(entry["preprocessing"]),
            features=entry["features"],
        )
    except (OSError, ValueError, KeyError, ModelError):
        return None


def exported(cache: Path) -> list[tuple[str, str, Path]]:
    """Every exported backbone in the cache: its name, its weights, its file."""
    backbones = {}
    for index in (cache / "backbones").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(index.read_text("utf-8"))
            path = cache / "backbones" / f"{entry['sha256']}.onnx"
            if path.is_file():
                backbones[path] = (entry["backbone"], entry["weights"], path)
    return list(backbones.values())


def ensure_exported(spec: BackboneSpec, cache: Path) -> ExportedBackbone:
    """The backbone as an ONNX file: the one in the cache, or a new export.

    Raises
    ------
    WeightsError
        When the weights cannot be had.
    ModelError
        When the export does not answer as the original does.
    """
    earlier = find_exported(spec, cache)
    if earlier:
        return earlier
    from vizsla.models.backbone import load_backbone

    backbone = load_backbone(spec)
    return export(backbone, spec.backbone, spec.describe(), cache, _index(spec, cache))


def export(
    backbone: TorchBackbone, name: str, weights: str, cache: Path, index: Path | None = None
) -> ExportedBackbone:
    """A backbone as it is now, as an ONNX file in the cache; ``weights`` says where its weights come from, ``index`` is
    the file that describes it.

    Raises
    ------
    ModelError
        When the export does not answer as the original does.
    StorageError
        When the file system refuses.
    """
    content = to_onnx(backbone.module, backbone.preprocessing)
    _verify(content, backbone.module, backbone.preprocessing, name)
    sha256 = hashlib.sha256(content).hexdigest()
    path = cache / "backbones" / f"{sha256}.onnx"
    shared_cache.write(path, content)
    description = {
        "backbone": name,
        "weights": weights,
        "sha256": sha256,
        "preprocessing": backbone.preprocessing.to_dict(),
        "features": backbone.features,
    }
    shared_cache.write(index or path.with_suffix(".json"), json.dumps(description, indent=2).encode())
    return ExportedBackbone(name, weights, path, sha256, backbone.preprocessing, backbone.features)


def to_onnx(module: Any, preprocessing: Preprocessing) -> bytes:
    """Export a timm model: ``images`` uint8 (n, size, size, 3) in; ``features`` and ``feature_map`` out.

    The last feature map is a second output and costs nothing (measured: docs/performance.md).
    """

    def run(pixels: Any) -> tuple[Any, Any]:
        feature_map = module.forward_features(pixels)
        return module.forward_head(feature_map, pre_logits=True), feature_map

    return _to_onnx(module, run, preprocessing, ("features", "feature_map"))


def trunk_to_onnx(trunk: Any, preprocessing: Preprocessing) -> bytes:
    """Export the first part of a backbone: ``images`` uint8 (n, size, size, 3) in; ``activations`` out."""
    return _to_onnx(trunk, trunk, preprocessing, ("activations",))


def _to_onnx(module: Any, run: Callable[[Any], Any], preprocessing: Preprocessing, outputs: tuple[str, ...]) -> bytes:
    """The normalisation is inside the graph, so that pictures travel as bytes. torch's older exporter is used: it takes
    0.7 s where the newer one takes 7 s and gives the same graph."""
    import torch

    class WithNormalisation(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
            self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
            self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

        def forward(self, images: torch.Tensor) -> Any:
            return run(images.permute(0, 3, 1, 2).float() * self.scale + self.shift)

    example = torch.zeros(2, preprocessing.size, preprocessing.size, 3, dtype=torch.uint8)
    file = io.BytesIO()
    names = ["images", *outputs]
    with _EXPORTER, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            WithNormalisation().eval(),
            (example,),
            file,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "n"} for name in names},
            opset_version=_OPSET,
            dynamo=False,
        )
    return file.getvalue()


def _verify(content: bytes, module: Any, preprocessing: Preprocessing, name: str) -> None:
    """Run the same noise through torch and ONNX Runtime."""
    import torch

    size = preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        tensor = torch.from_numpy(preprocessing.normalise(pixels))
        expected = module.forward_head(module.forward_features(tensor), pre_logits=True).numpy()
    features = OnnxEngine(content).features(pixels)
    scale = float(np.abs(expected).max()) or 1.0
    difference = float(np.abs(features - expected).max()) / scale if features.shape == expected.shape else float("inf")
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"The ONNX export of {name} does not answer as torch does (relative difference {difference:.2g}).",
            allowed=f"at most {_TOLERANCE:g}",
            do="choose another backbone, and please report this one",
        )


def _index(spec: BackboneSpec, cache: Path) -> Path:
    return cache / "backbones" / f"{spec.key()}.json"
