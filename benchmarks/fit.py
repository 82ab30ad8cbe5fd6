"""The whole command: accuracy, cold against warm, memory against the number of pictures, and how fast help answers.

python -m benchmarks.fit [--rounds 3] [--pictures 1000]
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.measure import FLOWERS, MOBILENET_WEIGHTS, photos, ratio, seconds, spread, table, vizsla
from vizsla.images import Limits
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings

BACKBONE = ("--backbone", "mobilenetv2_100", "--weights", MOBILENET_WEIGHTS, "--seed", 0, "--json")


def bare_pass() -> float:
    """Seconds that every photo takes to be read, decoded and run through the backbone, and nothing else: the limit."""
    backbone = ensure_exported(BackboneSpec.resolve("mobilenetv2_100", MOBILENET_WEIGHTS), settings().cache)
    engine, limits, threads = OnnxEngine(backbone.path), Limits.from_settings(), settings().threads

    def run(path: Path) -> None:
        engine.features(backbone.preprocessing(path.read_bytes(), limits)[None])

    with ThreadPoolExecutor(threads) as pool:
        return seconds(lambda: list(pool.map(run, sorted(FLOWERS.rglob("*.jpg")))))


def cold_and_warm(rounds: int, folder: Path) -> None:
    rows, colds, bares = [], [], []
    for at in range(rounds):
        places = {"VIZSLA_CACHE": str(folder / f"cache-{at}"), "VIZSLA_HOME": str(folder / f"runs-{at}")}
        bares.append(float(subprocess.check_output([sys.executable, "-m", "benchmarks.fit", "--only", "pass"])))
        cold, cold_memory, result = vizsla("fit", FLOWERS, *BACKBONE, **places)
        warm = [vizsla("fit", FLOWERS, *BACKBONE, **places) for _ in range(3)]
        warm_time = statistics.median(took for took, _, _ in warm)
        colds.append(cold)
        metrics = result["metrics"]
        assert isinstance(metrics, dict)
        low, high = metrics["accuracy_interval"]
        rows.append(
            (f"{metrics['accuracy']:.3f} ({low:.3f} to {high:.3f})", result["images_per_second"], f"{cold:.1f} s",
             f"{warm_time:.2f} s", f"1/{cold / warm_time:.1f}", f"{cold_memory:.0f} MB", f"{warm[0][1]:.0f} MB")
        )  # fmt: skip
        shutil.rmtree(folder / f"cache-{at}")
    print("\nflowers, mobilenetv2_100, the whole command with its imports, from an empty cache and again")
    header = ("test accuracy", "pictures a second", "cold", "warm", "warm/cold", "peak cold (with torch)", "peak warm")
    table(header, rows)
    print(f"cold against a bare pass (reading, decoding, engine): {ratio(colds, bares)} (pass: {spread(bares)} s)")


def another(photo: Image.Image, seed: int) -> Image.Image:
    """A picture that is no near copy of the photo: turned by any angle, and a part of it only."""
    draw = random.Random(seed)
    turned = photo.convert("RGB").rotate(draw.uniform(0, 360), Image.Resampling.BILINEAR)
    width, height = photo.size
    left, top = draw.uniform(0, 0.4) * width, draw.uniform(0, 0.4) * height
    return turned.crop((int(left), int(top), int(left + 0.6 * width), int(top + 0.6 * height)))


def memory(pictures: int, folder: Path) -> None:
    """Peak memory on a set and on eight times the set."""
    source = photos(pictures)
    places = {"VIZSLA_CACHE": str(folder / "cache"), "VIZSLA_HOME": str(folder / "runs")}
    rows = []
    for times in (0, 1, 8):  # the first, small one exports the backbone, which needs torch and is measured above
        data = folder / f"x{times}"
        for number, path in enumerate(source if times else source[:: max(1, pictures // 60)]):
            (data / path.parent.name).mkdir(parents=True, exist_ok=True)
            with Image.open(path) as photo:
                for copy in range(max(1, times)):
                    name = f"{copy}-{number}.jpg"
                    another(photo, 1000 * (10 * times + copy) + number).save(data / path.parent.name / name, quality=90)
        took, peak, result = vizsla("fit", data, *BACKBONE, **places)
        if times:
            rows.append(
                (f"{times} x", f"{times * len(source):,}", result["computed"], f"{took:.0f} s", f"{peak:.0f} MB")
            )
    print("\npeak memory of the whole command, features computed anew")
    table(("set", "pictures", "computed", "time", "peak memory"), rows)


def help_time(rounds: int) -> None:
    command = str(Path(sys.executable).with_name("vizsla"))

    def run(*arguments: str) -> float:
        return 1000 * seconds(lambda: subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True))

    bare = [run(sys.executable, "-c", "pass") for _ in range(rounds)]
    found = [run(command, "--help") for _ in range(rounds)]
    imported = [run(sys.executable, "-c", "import vizsla") for _ in range(rounds)]
    table(
        ("command", "milliseconds"),
        (
            ("python -c pass", spread(bare, 0)),
            ("import vizsla", spread(imported, 0)),
            ("vizsla --help", spread(found, 0)),
        ),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--pictures", type=int, default=1000)
    options.add_argument("--only", choices=("fit", "memory", "help", "pass"))
    asked = options.parse_args()
    if asked.only == "pass":  # in a process of its own: a child's peak memory begins with that of whoever starts it
        print(bare_pass())
        return
    with tempfile.TemporaryDirectory() as folder:
        if asked.only in (None, "help"):
            help_time(15)
        if asked.only in (None, "fit"):
            cold_and_warm(asked.rounds, Path(folder))
        if asked.only in (None, "memory"):
            memory(asked.pictures, Path(folder))


if __name__ == "__main__":
    main()
