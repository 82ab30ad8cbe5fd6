"""The demo: scikit-learn's handwritten digits, written out as image files, become a classifier. Needs no network.

The backbone is untrained here, because weights would have to be fetched first; with trained weights and real
photos the same command does far better. Run by ``make demo``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

FOLDER = Path("demo")
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


def main() -> int:
    """Write the pictures, run ``vizsla fit`` on them, classify one, and say what to type next."""
    data = FOLDER / "digits"
    print(f"Writing scikit-learn's digits as {write_digits(data):,} image files into {data}/ ...", flush=True)
    vizsla = str(Path(sys.executable).with_name("vizsla"))
    environment = {**os.environ, "VIZSLA_HOME": str(FOLDER / "runs")}

    def run(*arguments: str) -> int:
        print("\n$ " + shlex.join(["vizsla", *arguments]), flush=True)
        return subprocess.run([vizsla, *arguments], env=environment, check=False).returncode

    code = run("fit", str(data), "--random-init", "--epochs", "100", "--lr", "0.003")
    if code:
        return code
    newest = max((FOLDER / "runs").glob("train-*"), key=lambda job: job.stat().st_mtime)
    code = run("predict", str(newest / "model"), str(data / "7" / "0007.png"))
    print(
        "\nThe backbone here was untrained, so that nothing had to be fetched. Now with your own photos, one folder a"
        f"\nclass, and trained weights:\n\n  source {Path(sys.executable).parent / 'activate'}\n  vizsla fit PHOTOS\n"
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
