"""Plants what can be wrong with a data set into a copy of real photos, and says what must be found where."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CLASSES = ("daisy", "sunflower", "tulip")
COUNTS = {"train": 36, "valid": 8, "test": 8}

SPOILT = {
    # Real near copies among the first photos of the shared set (looked at: each is the same flower as another).
    "10993818044_4c19b86c82.jpg",
    "10994032453_ac7f8d9e2e.jpg",
    "12916441224_2ed63596f8_n.jpg",
    "2588453601_66f2a03cca_n.jpg",
}


@dataclass
class Planted:
    """A data set and what is wrong with it: finding id -> paths (an empty set where no files belong to it)."""

    root: Path
    expected: dict[str, set[str]] = field(default_factory=dict)

    def expect(self, finding: str, *paths: Path) -> None:
        names = {path.relative_to(self.root).as_posix() for path in paths}
        self.expected.setdefault(finding, set()).update(names)


def clean(flowers: Path, root: Path) -> Planted:
    """A copy of a few hundred real photos in train/valid/test, with nothing wrong with them."""
    for split, count in COUNTS.items():
        for label in CLASSES:
            files = [f for f in sorted((flowers / split / label).glob("*.jpg")) if f.name not in SPOILT][:count]
            (root / split / label).mkdir(parents=True)
            for file in files:
                shutil.copy(file, root / split / label / file.name)
    return Planted(root)


def fresh(flowers: Path, label: str, number: int) -> Image.Image:
    """A real photo that is not among those of :func:`clean`."""
    files = sorted((flowers / "train" / label).glob("*.jpg"))
    return Image.open(files[200 + number]).convert("RGB")


def jpeg(image: Image.Image, quality: int = 88) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


Plant = Callable[[Planted, Path], None]
KINDS: dict[str, Plant] = {}


def kind(plant: Plant) -> Plant:
    KINDS[plant.__name__] = plant
    return plant


@kind
def truncated(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/cut.jpg"
    data = jpeg(fresh(flowers, "daisy", 0))
    target.write_bytes(data[: len(data) * 2 // 3])
    p.expect("truncated", target)


@kind
def damaged(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/broken.png"
    file = io.BytesIO()
    fresh(flowers, "tulip", 0).save(file, "PNG")
    data = bytearray(file.getvalue())
    at = data.index(b"IDAT") + 4
    data[at : at + 64] = bytes(64)
    target.write_bytes(data)
    p.expect("damaged", target)


@kind
def corrupt_data(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/half_gray.jpg"
    data = bytearray(jpeg(fresh(flowers, "daisy", 6)))
    at = len(data) // 2
    data[at : at + 40] = b"\xff\xd4" + bytes(38)  # still decodes: to a picture whose lower half is gray
    target.write_bytes(data)
    p.expect("corrupt-data", target)


@kind
def stray_bytes(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/webcam.jpg"
    data = jpeg(fresh(flowers, "tulip", 9))
    target.write_bytes(data[:-2] + bytes(12) + b"\xff\xd9")
    p.expect("stray-bytes", target)


@kind
def odd_metadata(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/exif.jpg"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x0f\0\x02\0\0\x40\0\0\0\x10\0"
    fresh(flowers, "sunflower", 7).save(target, exif=exif)
    p.expect("odd-metadata", target)


@kind
def empty(p: Planted, flowers: Path) -> None:
    target = p.root / "valid/daisy/nothing.jpg"
    target.write_bytes(b"")
    p.expect("empty", target)


@kind
def not_an_image(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/page.jpg"
    target.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    p.expect("not-an-image", target)


@kind
def too_many_pixels(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/bomb.png"
    Image.new("1", (20_000, 20_000)).save(target)
    p.expect("too-many-pixels", target)


@kind
def unsupported(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/float.tif"
    Image.fromarray(np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)).save(target)
    p.expect("unsupported", target)


@kind
def wrong_type(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/actually_a_png.jpg"
    fresh(flowers, "daisy", 1).save(target, "PNG")
    p.expect("wrong-type", target)


@kind
def odd_mode(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/print.jpg"
    fresh(flowers, "tulip", 1).convert("CMYK").save(target, "JPEG")
    p.expect("odd-mode", target)


@kind
def gray(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/gray.jpg"
    fresh(flowers, "sunflower", 1).convert("L").save(target, "JPEG")
    p.expect("gray", target)


@kind
def animated(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/moving.webp"
    frames = [fresh(flowers, "sunflower", i) for i in (2, 3)]
    frames[0].save(target, save_all=True, append_images=[frames[1].resize(frames[0].size)])
    p.expect("animated", target)


@kind
def tiny(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/icon.png"
    fresh(flowers, "daisy", 2).resize((28, 24)).save(target)
    p.expect("tiny", target)


@kind
def huge(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/poster.jpg"
    fresh(flowers, "tulip", 2).resize((7800, 5600), Image.Resampling.BICUBIC).save(target, quality=60)
    p.expect("huge", target)


@kind
def extreme_aspect(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/strip.jpg"
    image = fresh(flowers, "daisy", 3)
    image.crop((0, 60, image.width, 60 + image.width // 4)).save(target, quality=88)
    p.expect("extreme-aspect", target)


@kind
def copies_exact(p: Planted, flowers: Path) -> None:
    first = p.root / "train/tulip/once.jpg"
    first.write_bytes(jpeg(fresh(flowers, "tulip", 3)))
    second = p.root / "train/tulip/twice.jpg"
    shutil.copy(first, second)
    p.expect("copies-exact", first, second)


@kind
def copies_near(p: Planted, flowers: Path) -> None:
    image = fresh(flowers, "tulip", 4)
    first, second = p.root / "train/tulip/large.jpg", p.root / "train/tulip/small.jpg"
    first.write_bytes(jpeg(image))
    second.write_bytes(jpeg(image.resize((image.width * 2 // 3, image.height * 2 // 3)), 70))
    p.expect("copies-near", first, second)


@kind
def leak_exact(p: Planted, flowers: Path) -> None:
    first, second = p.root / "train/daisy/seen.jpg", p.root / "test/daisy/unseen.jpg"
    first.write_bytes(jpeg(fresh(flowers, "daisy", 4)))
    shutil.copy(first, second)
    p.expect("leak-exact", first, second)


@kind
def leak_near(p: Planted, flowers: Path) -> None:
    image = fresh(flowers, "sunflower", 4)
    first, second = p.root / "train/sunflower/shot.jpg", p.root / "valid/sunflower/shot_edited.jpg"
    first.write_bytes(jpeg(image))
    second.write_bytes(jpeg(image.point(lambda value: min(255, int(value * 1.1))), 60))
    p.expect("leak-near", first, second)


@kind
def two_labels(p: Planted, flowers: Path) -> None:
    first, second = p.root / "train/daisy/which.jpg", p.root / "train/tulip/what.jpg"
    first.write_bytes(jpeg(fresh(flowers, "tulip", 5)))
    shutil.copy(first, second)
    p.expect("two-labels", first, second)


@kind
def dark(p: Planted, flowers: Path) -> None:
    target = p.root / "train/daisy/night.jpg"
    target.write_bytes(jpeg(fresh(flowers, "daisy", 5).point(lambda value: value // 5)))
    p.expect("dark", target)


@kind
def bright(p: Planted, flowers: Path) -> None:
    target = p.root / "train/sunflower/overexposed.jpg"
    target.write_bytes(jpeg(fresh(flowers, "sunflower", 5).point(lambda value: 246 + value // 32)))
    p.expect("bright", target)


@kind
def blurry(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/shaken.jpg"
    target.write_bytes(jpeg(fresh(flowers, "tulip", 8).filter(ImageFilter.GaussianBlur(18))))
    p.expect("blurry", target)


@kind
def low_information(p: Planted, flowers: Path) -> None:
    target = p.root / "train/tulip/blank.png"
    Image.new("RGB", (300, 240), (90, 140, 200)).save(target)
    p.expect("low-information", target)


@kind
def missing_class(p: Planted, flowers: Path) -> None:
    folder = p.root / "train/violet"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.jpg").write_bytes(jpeg(fresh(flowers, "daisy", 40 + i)))
    p.expect("missing-class")


@kind
def few_pictures(p: Planted, flowers: Path) -> None:
    for number, split in enumerate(["train"] * 4 + ["valid", "test"]):
        target = p.root / split / "poppy" / f"{number}.jpg"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(jpeg(fresh(flowers, "tulip", 60 + number)))
    p.expect("few-pictures")


@kind
def imbalance(p: Planted, flowers: Path) -> None:
    folder = p.root / "train/sunflower"
    for file in sorted((p.root / "train/daisy").glob("*"))[12:]:
        file.unlink()
    for file in sorted((flowers / "train/sunflower").glob("*.jpg"))[100:240]:
        if file.name not in SPOILT:
            shutil.copy(file, folder / file.name)
    p.expect("imbalance")
