"""What it costs to look for damage that Pillow passes over, and how much of what libjpeg warns of is seen.

``python -m benchmarks.damage`` prints the tables of docs/performance.md. Photos: VIZSLA_SHARED/data/flowers.
"""

from __future__ import annotations

import importlib
import io
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vizsla.data.inspection import inspect
from vizsla.errors import ImageError
from vizsla.images import Limits, damage, decode

SHARED = Path(os.environ.get("VIZSLA_SHARED") or Path(__file__).resolve().parents[2] / "shared")
LIMITS = Limits(10**9, 10**9, 60)
ROUNDS = 15


def photos(count: int, large: bool = False, **options: Any) -> list[bytes]:
    """Real photos; ``large`` ones are enlarged to 12 megapixels, with noise."""
    files = sorted((SHARED / "data/flowers/train").glob("*/*.jpg"))
    found = []
    for file in random.Random(0).sample(files, count):
        if not large and not options:
            found.append(file.read_bytes())
            continue
        image = Image.open(file).convert("RGB")
        if large:
            pixels = np.asarray(image.resize((4000, 3000), Image.Resampling.LANCZOS)).astype(np.float32)
            pixels += np.random.default_rng(0).normal(0, 5, pixels.shape).astype(np.float32)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88, **options)
        found.append(buffer.getvalue())
    return found


def cost() -> None:
    """Processor time of the check's look at a picture, with and without looking for damage."""
    module: Any = importlib.import_module("vizsla.images.decode")
    real = module.scan_end, module.DecodedImage.damage

    def seconds(data: list[bytes], looks: bool) -> float:
        module.scan_end = real[0] if looks else lambda data: None
        module.DecodedImage.damage = real[1] if looks else lambda self: None
        began = time.process_time()
        for picture in data:
            inspect(picture, LIMITS, with_quality=False)
        return time.process_time() - began

    print("| pictures | with / without, median of 15 (range) |\n|---|---|")
    for name, data in {
        "150 photos of 23 kB": photos(150),
        "6 photos of 12 megapixels": photos(6, large=True),
        "150 progressive photos": photos(150, progressive=True),
        "150 photos with restart markers": photos(150, restart_marker_rows=1),
    }.items():
        seconds(data, True)
        ratios = [seconds(data, True) / seconds(data, False) for _ in range(ROUNDS)]
        print(f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")
    module.scan_end, module.DecodedImage.damage = real


def recall() -> None:
    """40 bytes overwritten at random: what Pillow refuses, what libjpeg warns of, what is told."""
    print("\n| pictures | refused by Pillow | libjpeg warns | told | silent |\n|---|---|---|---|---|")
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "progressive": {"progressive": True},
        "restart markers": {"restart_marker_rows": 1},
    }
    for name, options in ways.items():
        rng, refused, warned, told, silent = np.random.default_rng(0), 0, 0, 0, 0
        for photo in photos(500, **options):
            at = int(len(photo) * rng.uniform(0.1, 0.9))
            data = photo[:at] + rng.integers(0, 256, 40, np.uint8).tobytes() + photo[at + 40 :]
            try:
                seen = decode(data, LIMITS).damage()
            except ImageError:
                refused += 1
                continue
            known = damage(data)
            warned, told, silent = warned + bool(known), told + bool(seen), silent + (not known)
        print(f"| {name} | {refused} | {warned} | {told} | {silent} |")


if __name__ == "__main__":
    cost()
    recall()
