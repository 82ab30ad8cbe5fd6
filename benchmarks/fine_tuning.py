"""Accuracy by the minutes, beside peers; pictures a second in training, beside plain PyTorch.

    python -m benchmarks.fine_tuning --only curve --minutes 1 3 10 --peers plain fastai
    python -m benchmarks.fine_tuning --only speed

A peer runs in an environment of its own, made like this: python -m venv ~/.cache/vizsla/peers/fastai, then
~/.cache/vizsla/peers/fastai/bin/pip install fastai timm fastprogress==1.0.3. For autogluon it is autogluon.multimodal
"setuptools<81", and then again --force-reinstall torch==2.13.0 "numpy<2.5", which torchvision there was built for.
`plain` runs in ours. All use the same weights and photos.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import FLOWERS, MOBILENET_WEIGHTS, SHARED, interleaved, photos, ratio, spread, table, vizsla

PEERS = Path("~/.cache/vizsla/peers").expanduser()
_ROUNDS, _BATCHES, _WARM = 3, 6, 2
_BATCH = 32


def curve(data: Path, minutes: list[float], peers: list[str]) -> None:
    """Test accuracy by the minutes: ours with nothing but --minutes, and each peer's, which is told how many epochs
    fill them."""
    rows = []
    for allowed in minutes:
        with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as home:
            took, _, result = vizsla(
                "fit", data, "--weights", MOBILENET_WEIGHTS, "--minutes", allowed, "--json",
                VIZSLA_CACHE=cache, VIZSLA_HOME=home,
            )  # fmt: skip
            metrics: Any = result["metrics"]
            depth = _depth(Path(str(result["job"])))
        low, high = metrics["accuracy_interval"]
        ours = f"{metrics['accuracy']:.3f} ({low:.3f} to {high:.3f})"
        warnings: Any = result["warnings"]
        beside = next((text for text in warnings if text.startswith("Frozen, the same")), "")
        print(f"{allowed:g} minutes: {ours}. {beside}")
        rows.append((allowed, "vizsla fit", depth, ours, f"{took / 60:.2f}"))
        table(("minutes", "what", "how", "test accuracy", "minutes taken"), rows[-1:])
        for peer in peers:
            for epoch, point in enumerate(_peer(peer, data, allowed), 1):
                rows.append((allowed, peer, f"epoch {epoch}", f"{point['test']:.3f}", f"{point['seconds'] / 60:.2f}"))
            table(("minutes", "what", "how", "test accuracy", "minutes taken"), rows[-1:])
    table(("minutes", "what", "how", "test accuracy", "minutes taken"), rows)


def _depth(job: Path) -> str:
    """What trained in a job, in the words of its log."""
    lines = [line for line in (job / "logs.txt").read_text("utf-8").splitlines() if "that are left" in line]
    return lines[-1].split("left: ")[1].rstrip(".") if lines else "the head alone"


def _peer(peer: str, data: Path, minutes: float) -> list[dict[str, float]]:
    """What a peer's epochs came to."""
    own = PEERS / peer / "bin" / "python"
    python = sys.executable if peer == "plain" else str(own)
    if peer != "plain" and not own.exists():
        print(f"{peer} is not installed in {own.parent.parent}: left out")
        return []
    classes = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    splits = {
        split: [
            [str(path), label] for label, name in enumerate(classes) for path in sorted((data / split / name).iterdir())
        ]
        for split in ("train", "valid", "test")
        if (data / split).is_dir()
    }
    if "valid" not in splits:
        every = splits["train"]
        splits |= {"valid": every[::10], "train": [row for at, row in enumerate(every) if at % 10]}
    task = {"peer": peer, "classes": len(classes), "weights": str(MOBILENET_WEIGHTS), "minutes": minutes, **splits}
    if peer == "fastai":
        task["epochs"] = max(1, round(minutes / 2.5) - 1)
    run = subprocess.run(
        [python, str(Path(__file__).with_name("fine_tuning_peers.py"))],
        input=json.dumps(task | {"threads": os.cpu_count()}),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        print(run.stderr[-2000:])
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"seconds"')]


def speed() -> None:
    """Pictures a second of training resnet18 at 224 pixels, all layers; of flowers, and of photos of 2000x1500; and
    behind the usual cut. Ours and plain PyTorch in turn."""
    from vizsla.models.weights import BackboneSpec

    with tempfile.TemporaryDirectory() as folder:
        large = _enlarged(photos(_BATCH * (_BATCHES + _WARM)), Path(folder) / "large")
        small = photos(_BATCH * (_BATCHES + _WARM))
        spec = BackboneSpec.resolve("resnet18", random_init=True)
        cache = Path(folder) / "cache"
        actions = {
            "full": lambda: _ours(spec, small, cache, "full"),
            "plain PyTorch": lambda: _plain(small),
            "last": lambda: _ours(spec, small, cache, "last"),
            "full, 2000x1500": lambda: _ours(spec, large, cache, "full"),
            "plain PyTorch, 2000x1500": lambda: _plain(large),
        }
        _ours(spec, large, cache, "full")  # decoded once: what follows is the second epoch and later ones
        found = interleaved(actions, _ROUNDS)
    table(("what", "pictures a second"), [(name, spread(values)) for name, values in found.items()])
    table(
        ("ratio", "median (range)", "asked"),
        [
            ("full / plain PyTorch", ratio(found["full"], found["plain PyTorch"]), ">= 1.3"),
            (
                "the same, 2000x1500, from the second epoch on",
                ratio(found["full, 2000x1500"], found["plain PyTorch, 2000x1500"]),
                ">= 2",
            ),
            ("last / full", ratio(found["last"], found["full"]), ">= 3"),
        ],
    )


def _enlarged(pictures: list[Path], folder: Path) -> list[Path]:
    from PIL import Image

    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(len(pictures))]
    for source, path in zip(pictures, paths, strict=True):
        Image.open(source).convert("RGB").resize((2000, 1500)).save(path, quality=90)
    return paths


def _ours(spec: Any, pictures: list[Path], cache: Path, depth: Any) -> float:
    """Our loop, from the stores that an epoch before has left."""
    import hashlib

    import numpy as np
    import torch

    from vizsla.models.backbone import load_backbone
    from vizsla.models.heads.linear import LinearHead
    from vizsla.training.callbacks import Callback
    from vizsla.training.fine_tuning.config import FineTuneConfig
    from vizsla.training.fine_tuning.loop import fine_tune
    from vizsla.training.fine_tuning.network import Network
    from vizsla.training.fine_tuning.pictures import Pictures
    from vizsla.training.fine_tuning.schedule import asked_for, cuts_for
    from vizsla.training.fine_tuning.stage import Workshop, best_device
    from vizsla.training.head_data import HeadData
    from vizsla.training.table import FeatureTable

    torch.set_num_threads(os.cpu_count() or 1)
    n, backbone = len(pictures), load_backbone(spec)
    keys = np.array([list(hashlib.sha256(path.read_bytes()).digest()) for path in pictures], np.uint8)
    labels = (np.arange(n) % 5).astype(np.int32)
    rows = np.arange(n)
    data = HeadData(FeatureTable.of(np.zeros((n, backbone.features), np.float32)), labels, rows, rows[:1], 5)
    head = LinearHead(np.zeros((5, backbone.features), np.float32), np.zeros(5, np.float32))
    device = best_device()
    config = FineTuneConfig(depth, batch_size=_BATCH, epochs=1, views=2)
    (config,) = asked_for(config, cuts_for(backbone, config, 2 * n, 10**12), backbone, device)
    workshop = Workshop(
        backbone, spec.key(), Pictures(pictures, keys), data, cache, 2, device, Callback(), lambda done, total: None
    )
    body, inputs = workshop.inputs(config)
    network = Network.of(body, head, device)
    network.bfloat16 = config.precision == "bfloat16"
    network.trains_statistics = depth == "full"  # as with weights whose statistics are not folded, and as plain PyTorch
    steps: list[float] = []

    def on_step(step: int, total: int) -> None:
        steps.append(time.perf_counter())

    fine_tune(network, inputs, data, config, callback=Callback(), on_step=on_step)
    return _BATCH * (len(steps) - _WARM) / (steps[-1] - steps[_WARM - 1])


def _plain(pictures: list[Path]) -> float:
    """Plain PyTorch: eager, contiguous, a DataLoader with Pillow and torchvision's transforms."""
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, (0.35, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )

    class Photos(Dataset[Any]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, at: int) -> Any:
            return transform(Image.open(pictures[at]).convert("RGB")), at % 5

    model = timm.create_model("resnet18", num_classes=5).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)
    steps = []
    for pixels, labels in DataLoader(Photos(), _BATCH, num_workers=os.cpu_count() or 1):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels), labels, label_smoothing=0.1).backward()
        optimizer.step()
        steps.append(time.perf_counter())
    return _BATCH * (len(steps) - _WARM) / (steps[-1] - steps[_WARM - 1])


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("curve", "speed"))
    parser.add_argument("--data", type=Path, nargs="+", default=[FLOWERS, SHARED / "data" / "dogs"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--peers", nargs="*", default=["plain", "fastai", "autogluon"])
    options = parser.parse_args()
    if options.only != "curve":
        speed()
    if options.only != "speed":
        for data in options.data:
            print(f"\n## {data.name}")
            curve(data, options.minutes, options.peers)


if __name__ == "__main__":
    main()
