"""The engine in eight bits against the engine in floats, on ready tensors; and OpenVINO, where it is.

python -m benchmarks.int8 [--pictures 128] [--rounds 5] [--backbones mobilenetv2_100 resnet18] [--flowers 0]

Run by a Python that has openvino and nncf, OpenVINO in floats and in eight bits (NNCF's quantisation after training)
stand beside. ``--flowers N`` also trains a head on the features of N photos of flowers from each and measures it on
the test split.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.features import PROCESSOR, Engine, bare_engine, request, timed
from benchmarks.measure import SHARED, interleaved, photos, ratio, spread, table
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.onnx_file import to_int8
from vizsla.settings import settings
from vizsla.training.config import LbfgsConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable

Floats = npt.NDArray[np.float32]


class OpenVino:
    """OpenVINO on the processor: a core a call, as :class:`OnnxEngine` is used."""

    def __init__(self, model: Any, threads: int) -> None:
        import openvino

        hints = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
        self._model = openvino.Core().compile_model(model, "CPU", hints)
        self._own = threading.local()

    def features(self, pixels: Any) -> Floats:
        """See :class:`Engine`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        found = self._own.request.infer({"images": pixels})
        return np.array(found["features"], np.float32)


def openvino_engines(backbone: Path, pictures: Sequence[Any], threads: int) -> dict[str, Engine]:
    """In floats and in eight bits; none where OpenVINO is not installed."""
    if not (importlib.util.find_spec("openvino") and importlib.util.find_spec("nncf")):
        return {}
    import nncf
    import openvino

    model = openvino.Core().read_model(str(backbone))
    made: dict[str, Engine] = {"OpenVINO fp32": OpenVino(model, threads)}
    data = nncf.Dataset([picture[None] for picture in pictures], lambda picture: {"images": picture})
    small = nncf.quantize(model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(pictures))
    return made | {"OpenVINO int8": OpenVino(small, threads)}


def flowers_accuracy(engines: dict[str, Engine], preprocessing: Any, count: int, threads: int) -> dict[str, float]:
    """Percent of the test photos that a head is right about which was trained on each engine's features."""
    root, limits = SHARED / "data" / "flowers", Limits.from_settings()
    classes = sorted(path.name for path in (root / "train").iterdir())
    rng = np.random.default_rng(0)
    files = {split: sorted((root / split).glob("*/*.jpg")) for split in ("train", "valid", "test")}
    files["train"] = [files["train"][i] for i in sorted(rng.permutation(len(files["train"]))[:count].tolist())]
    paths = [path for split in files.values() for path in split]
    labels = np.array([classes.index(path.parent.name) for path in paths], np.int32)
    at = np.cumsum([0, *(len(split) for split in files.values())])
    train, valid, test = (np.arange(at[i], at[i + 1]) for i in range(3))
    accuracy = {}
    with ThreadPoolExecutor(threads) as pool:
        pixels = list(pool.map(lambda path: preprocessing(path.read_bytes(), limits), paths))
        for name, engine in engines.items():
            found = np.concatenate(list(pool.map(lambda one, engine=engine: engine.features(one[None]), pixels)))
            data = HeadData(FeatureTable.of(found), labels, train, valid, len(classes))
            (trained,) = train_heads(data, [LbfgsConfig()])
            said = trained.head.logits(found[test]).argmax(axis=1)
            accuracy[name] = 100 * float((said == labels[test]).mean())
    return accuracy


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=int, default=128)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--backbones", nargs="+", default=["mobilenetv2_100", "resnet18"])
    options.add_argument("--flowers", type=int, default=0)
    asked = options.parse_args()
    threads, limits, rows = settings().threads, Limits.from_settings(), []
    for name in asked.backbones:
        backbone = ensure_exported(request(name), settings().cache)
        tensors = np.stack([backbone.preprocessing(path.read_bytes(), limits) for path in photos(asked.pictures)])
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "int8.onnx"
            file.write_bytes(to_int8(backbone.path, list(tensors[:64])))
            engines: dict[str, Engine] = {"fp32": OnnxEngine(backbone.path), "int8": OnnxEngine(file)}
            sizes = {"fp32": backbone.path.stat().st_size, "int8": file.stat().st_size}
            engines |= openvino_engines(backbone.path, list(tensors[:64]), threads)
            rates = interleaved(
                {
                    kind: timed(f"{name} {kind}", partial(bare_engine, tensors, engine, threads, 1), len(tensors))
                    for kind, engine in engines.items()
                },
                asked.rounds,
            )
            features = {kind: engine.features(tensors) for kind, engine in engines.items()}
            accuracy = (
                flowers_accuracy(engines, backbone.preprocessing, asked.flowers, threads) if asked.flowers else {}
            )
        one = features["fp32"]
        for kind, other in features.items():
            cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
            costs = [PROCESSOR[f"{name} {of}"] for of in ("fp32", kind)]
            size = f"{sizes[kind] / 1e6:.1f} MB" if kind in sizes else ""
            right = f"{accuracy[kind]:.1f} %" if accuracy else ""
            found = (spread(rates[kind]), ratio(rates[kind], rates["fp32"]), spread(costs[1]), ratio(*costs))
            rows.append((name, kind, *found, f"{cosine.mean():.4f}", right, size))
    print(f"{asked.pictures} photos, {threads} threads, {asked.rounds} rounds; images/s")
    names = ("backbone", "engine", "images/s", "to fp32", "processor ms a picture", "fp32 to it")
    table((*names, "cosine of the features", "flowers", "size"), rows)


if __name__ == "__main__":
    main()
