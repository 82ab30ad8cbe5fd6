"""Decoders on real photos: pictures a second on one thread, and how far the result is from the reference.

Reference: Pillow decodes in full and resizes with antialiasing. All end in the same 224 x 224 centre crop of a short
side of 256. ``pip install simplejpeg`` adds that decoder to the table.

    python -m benchmarks.decoders [--pictures 300] [--rounds 3]
"""

from __future__ import annotations

import argparse
import importlib
import io
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.measure import interleaved, photos, ratio, seconds, spread, table
from vizsla.images import Limits, Preprocessing, decode
from vizsla.images.decode import DecodedImage

Pixels = npt.NDArray[np.uint8]
SHORT = 256
PREPROCESSING = Preprocessing(224, SHORT, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LIMITS = Limits(10**9, 10**9, 60)


def reference(data: bytes) -> Pixels:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = PREPROCESSING._resized(*image.size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + 224, top + 224)))


def scaled(data: bytes, margin: float) -> Pixels:
    decoded = decode(data, LIMITS, short_side=int(SHORT * margin))
    return PREPROCESSING.apply(decoded.image, decoded.full_size)


def simple(data: bytes, margin: float) -> Pixels:
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    least = SHORT * margin / min(width, height)
    options = {"min_height": int(height * least), "min_width": int(width * least)} if least <= 0.5 else {}
    pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", **options)
    decoded = DecodedImage(Image.fromarray(pixels), (width, height), data)
    return PREPROCESSING.apply(decoded.image, decoded.full_size)


def decoders() -> dict[str, Callable[[bytes], Pixels]]:
    found: dict[str, Callable[[bytes], Pixels]] = {
        "Pillow, in full (reference)": reference,
        "Pillow, in full, crop inside the resize": partial(scaled, margin=1e9),
        "Pillow draft, margin 1": partial(scaled, margin=1),
        "Pillow draft, margin 2": partial(scaled, margin=2),
        "Pillow draft, margin 2.75 (used)": used,
    }
    try:
        importlib.import_module("simplejpeg")
    except ModuleNotFoundError:
        print("simplejpeg is not installed: left out of the table")
    else:
        found |= {
            "simplejpeg, margin 1": partial(simple, margin=1),
            "simplejpeg, margin 2.75": partial(simple, margin=2.75),
        }
    return found


def used(data: bytes) -> Pixels:
    return PREPROCESSING(data, LIMITS)


def mosaic(parts: list[Image.Image], size: tuple[int, int]) -> bytes:
    """A large photo as sharp as a real one: real photos side by side at their own resolution."""
    canvas = Image.new("RGB", size)
    x = y = row = 0
    for part in parts * 20:
        canvas.paste(part, (x, y))
        x, row = x + part.width, max(row, part.height)
        if x >= size[0]:
            x, y, row = 0, y + row, 0
        if y >= size[1]:
            break
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=int, default=300)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    small = [path.read_bytes() for path in photos(asked.pictures)]
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in small[:120]]
    large = [mosaic(opened[at : at + 20], (2000, 1500)) for at in range(0, len(opened) - 20, 6)]
    for title, pictures in (("about 350 x 256", small), ("2000 x 1500", large)):
        found = decoders()
        expected = [reference(data).astype(np.int16) for data in pictures[:60]]

        def rate(decoder: Callable[[bytes], Pixels], data: list[bytes] = pictures) -> float:
            return len(data) / seconds(lambda: [decoder(one) for one in data])

        rates = interleaved({name: partial(rate, decoder) for name, decoder in found.items()}, asked.rounds)
        base = rates["Pillow, in full (reference)"]
        rows = []
        for name, decoder in found.items():
            differences = [np.abs(decoder(d) - e).mean() for d, e in zip(pictures, expected, strict=False)]
            rows.append(
                (name, spread(rates[name], 0), ratio(rates[name], base), f"{np.mean(differences):.2f}",
                 f"{np.max(differences):.2f}")
            )  # fmt: skip
        print(f"\n{len(pictures)} photos of {title}, one thread")
        table(
            ("decoder", "pictures a second", "of the reference", "mean difference (grey levels)", "worst photo"), rows
        )


if __name__ == "__main__":
    main()
