"""Does the second output, the last feature map for activation maps, cost speed? The same graph with and without it.

Needs the package onnx, to take the output away (``pip install onnx``).

    python -m benchmarks.feature_map [--rounds 15]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx

from benchmarks.measure import interleaved, ratio, seconds, spread, table
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings

PICTURES = 12


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    asked = options.parse_args()
    rows = []
    for name in ("mobilenetv2_100", "resnet18"):
        backbone = ensure_exported(BackboneSpec.resolve(name, random_init=True), settings().cache)
        graph = onnx.load(backbone.path)
        del graph.graph.output[1]
        both, one = OnnxEngine(backbone.path), OnnxEngine(graph.SerializeToString())
        size = backbone.preprocessing.size
        pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)

        def rate(call: Callable[[np.ndarray], object], pixels: np.ndarray = pixels) -> float:
            return PICTURES / seconds(lambda: [call(pixels) for _ in range(PICTURES)])

        calls = {"without": one.features, "with": both.features, "taken": both.features_and_map}
        rates = interleaved({key: partial(rate, call) for key, call in calls.items()}, asked.rounds)
        rows += [
            (name, "features only, graph without the map", spread(rates["without"]), "1"),
            (name, "features only, graph with the map", spread(rates["with"]), ratio(rates["with"], rates["without"])),
            (name, "features and map", spread(rates["taken"]), ratio(rates["taken"], rates["without"])),
        ]
    table(("backbone", "what is asked of one thread", "pictures a second", "ratio"), rows)


if __name__ == "__main__":
    main()
