"""The engine in eight bits against the engine in floats, on ready tensors.

python -m benchmarks.int8 [--pictures 128] [--rounds 5] [--backbones mobilenetv2_100 resnet18]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.features import PROCESSOR, bare_engine, request, timed
from benchmarks.measure import interleaved, photos, ratio, spread, table
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.onnx_file import to_int8
from vizsla.settings import settings


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=int, default=128)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--backbones", nargs="+", default=["mobilenetv2_100", "resnet18"])
    asked = options.parse_args()
    threads, limits, rows = settings().threads, Limits.from_settings(), []
    for name in asked.backbones:
        backbone = ensure_exported(request(name), settings().cache)
        tensors = np.stack([backbone.preprocessing(path.read_bytes(), limits) for path in photos(asked.pictures)])
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "int8.onnx"
            file.write_bytes(to_int8(backbone.path, list(tensors[:64])))
            engines = {"fp32": OnnxEngine(backbone.path), "int8": OnnxEngine(file)}
            rates = interleaved(
                {
                    kind: timed(f"{name} {kind}", partial(bare_engine, tensors, engine, threads, 1), len(tensors))
                    for kind, engine in engines.items()
                },
                asked.rounds,
            )
            costs = [PROCESSOR[f"{name} {kind}"] for kind in engines]
            sizes = [f"{path.stat().st_size / 1e6:.1f} MB" for path in (backbone.path, file)]
            one, other = (engine.features(tensors) for engine in engines.values())
        cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        rows.append(
            (
                name,
                spread(rates["fp32"]),
                spread(rates["int8"]),
                ratio(rates["int8"], rates["fp32"]),
                f"{spread(costs[0])} to {spread(costs[1])}",
                ratio(*costs),
                f"{cosine.mean():.4f}",
                " to ".join(sizes),
            )
        )
    print(f"{asked.pictures} photos, {threads} threads, {asked.rounds} rounds; images/s")
    names = ("backbone", "fp32", "int8", "int8 / fp32", "processor ms a picture", "its ratio")
    table((*names, "cosine of the features", "size"), rows)


if __name__ == "__main__":
    main()
