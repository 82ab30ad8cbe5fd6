"""The demo: scikit-learn's handwritten digits, written out as image files, become a classifier. Needs no network.

The network starts untrained here, because weights would have to be fetched first, and so all of it trains. Run by
``make demo``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

FOLDER = Path("demo")
RUNS = FOLDER / "runs"
SIDE = 64
"""Pixels of a written-out digit; scikit-learn's are 8 x 8 with values 0..16."""


def write_digits(folder: Path) -> int:
    """Write the 1,797 digits as ``folder/<digit>/<number>.png``; returns how many there are."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(digit) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gray = Image.fromarray((pixels * 255 / 16).round().astype("uint8"))
        gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
    return len(digits.target)


RECIPE = (
    "--backbone test_resnet --random-init --size 64 --depth full --epochs 10 --lr 0.003 --layer-decay 1 "
    "--augmentation light --no-flip"
).split()
"""timm's smallest residual network, from nothing: all of it trains, on pictures that are small, as digits may be. A
mirrored digit is no digit."""


def run(*arguments: str) -> None:
    """Show a command, run it, and end with it where it fails."""
    print("\n$ " + shlex.join(["vizsla", *arguments]), flush=True)
    vizsla = str(Path(sys.executable).with_name("vizsla"))
    done = subprocess.run([vizsla, *arguments], env={**os.environ, "VIZSLA_HOME": str(RUNS)}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Write the pictures, check them, train on them, classify some, and say where the report is and what comes next."""
    data = FOLDER / "digits"
    print(f"Writing scikit-learn's digits as {write_digits(data):,} image files into {data}/ ...", flush=True)
    run("check", str(data))
    run("fit", str(data), *RECIPE)
    job = max(RUNS.glob("train-*"), key=lambda job: job.stat().st_mtime)
    run("predict", str(job / "model"), *(str(data / str(digit) / f"{digit:04}.png") for digit in (3, 7)))
    print(
        f"\nThe report, to be opened in a browser:\n\n  {(job / 'output' / 'report.html').absolute().as_uri()}\n"
        "\nThis network began untrained, so that nothing had to be fetched. For photos of your own, one folder a class,"
        "\nthere are weights that know photos already; they are fetched the first time:\n"
        f"\n  source {Path(sys.executable).parent / 'activate'}\n  vizsla fit PHOTOS\n"
    )


if __name__ == "__main__":
    main()
