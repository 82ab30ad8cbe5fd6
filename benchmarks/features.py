"""Feature extraction against its limit, the bare engine on ready tensors, and against the usual torch loop.

The limit on this machine: a picture's passage through the backbone. Reading, hashing, decoding, resizing and storing
must hide beside it; what they cost is the gap to 1.0.

    python -m benchmarks.features [--pictures 600] [--rounds 3] [--backbones mobilenetv2_100 resnet18]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.measure import MOBILENET_WEIGHTS, interleaved, photos, ratio, seconds, spread, table
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.features import extract


def request(name: str) -> BackboneSpec:
    """Trained weights where they are at hand; speed does not depend on them."""
    if name == "mobilenetv2_100" and MOBILENET_WEIGHTS.exists():
        return BackboneSpec.resolve(name, MOBILENET_WEIGHTS)
    return BackboneSpec.resolve(name, random_init=True)


PROCESSOR: dict[str, list[float]] = {}
"""Milliseconds of processor time a picture by name: what neighbours on the machine disturb less than the clock."""


def timed(name: str, action: Callable[[], float], pictures: int) -> Callable[[], float]:
    """The same action, its processor time noted as well."""

    def run() -> float:
        before = time.process_time()
        rate = action()
        PROCESSOR.setdefault(name, []).append(1000 * (time.process_time() - before) / pictures)
        return rate

    return run


class Engine(Protocol):
    """Answers pictures."""

    def features(self, pixels: Any) -> Any:
        """Of uint8 (n, size, size, 3), float32 (n, d)."""
        ...


def bare_engine(tensors: np.ndarray, engine: Engine, threads: int, batch: int) -> float:
    """Pictures a second of an engine alone: ``threads`` calls at a time."""
    parts = [tensors[at : at + batch] for at in range(0, len(tensors), batch)]
    with ThreadPoolExecutor(threads) as pool:
        return len(tensors) / seconds(lambda: list(pool.map(engine.features, parts)))


def ours(paths: list[Path], backbone: ExportedBackbone, threads: int) -> float:
    """Pictures a second of the whole extraction into an empty cache."""
    engine = OnnxEngine(backbone.path)
    with tempfile.TemporaryDirectory() as folder:
        space = FeatureSpace(Path(folder), backbone, engine)
        took = seconds(lambda: extract(paths, space, backbone.preprocessing, engine, threads=threads))
    return len(paths) / took


def usual_loop(paths: list[Path], name: str, workers: int) -> Callable[[], float]:
    """The loop of the tutorials: a Dataset on Pillow, a DataLoader with workers, torch eager without gradients."""
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(settings().threads)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    class Photos(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> torch.Tensor:
            return transform(Image.open(paths[row]).convert("RGB"))

    loader = DataLoader(Photos(), batch_size=32, num_workers=workers)

    def run() -> float:
        def all_batches() -> None:
            with torch.no_grad():
                for batch in loader:
                    model(batch)

        return len(paths) / seconds(all_batches)

    return run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=int, default=600)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--backbones", nargs="+", default=["mobilenetv2_100", "resnet18"])
    asked = options.parse_args()
    paths, threads = photos(asked.pictures), settings().threads
    rows = []
    for name in asked.backbones:
        backbone = ensure_exported(request(name), settings().cache)
        limits = Limits.from_settings()
        tensors = np.stack([backbone.preprocessing(path.read_bytes(), limits) for path in paths])
        one, all_cores = OnnxEngine(backbone.path), OnnxEngine(backbone.path, threads=threads)
        slow = paths[: max(64, len(paths) // 4)]  # one epoch of the usual loop takes long
        rates = interleaved(
            {
                "one": timed(f"{name} engine", partial(bare_engine, tensors, one, threads, 1), len(paths)),
                "batch": partial(bare_engine, tensors, all_cores, 1, 16),
                "ours": timed(f"{name} vizsla", partial(ours, paths, backbone, threads), len(paths)),
                "torch, workers": usual_loop(slow, name, threads),
                "torch, none": usual_loop(slow, name, 0),
            },
            asked.rounds,
        )
        bare = [max(pair) for pair in zip(rates["one"], rates["batch"], strict=True)]
        usual = [max(pair) for pair in zip(rates["torch, workers"], rates["torch, none"], strict=True)]
        rows += [
            (name, f"engine alone, {threads} calls of one picture, 1 thread each", spread(rates["one"]), ""),
            (name, f"engine alone, batches of 16 on {threads} threads", spread(rates["batch"]), ""),
            (name, "usual loop: torch eager, DataLoader, Pillow", spread(usual), ""),
            (name, "**vizsla: read, hash, decode, run, store**", spread(rates["ours"]),
             f"{ratio(rates['ours'], bare)} of the engine; {ratio(rates['ours'], usual)} x the usual loop"),
        ]  # fmt: skip
    table(("backbone", "what", "pictures a second", "ratio"), rows)
    for name in asked.backbones:
        engine, whole = PROCESSOR[f"{name} engine"], PROCESSOR[f"{name} vizsla"]
        print(
            f"{name}: processor time a picture {spread(engine, 2)} ms in the engine, {spread(whole, 2)} ms in all: "
            f"{ratio(engine, whole)} of it is the engine's"
        )


if __name__ == "__main__":
    main()
