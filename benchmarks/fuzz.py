"""Coverage-guided fuzzing of what strangers send: bodies, names, headers, archives. No error but the documented ones.

pip install atheris; python -m benchmarks.fuzz TARGET [-max_total_time=300 ...]   (libFuzzer's own options)
"""

from __future__ import annotations

import asyncio
import base64
import bz2
import gzip
import io
import json
import lzma
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["vizsla", "PIL", "python_multipart", "starlette", "tarfile"]):
    import tarfile

    from PIL import Image

    from vizsla.errors import ImageError, ModelError
    from vizsla.images import Limits, Preprocessing
    from vizsla.models import artifact
    from vizsla.serving.access import Access
    from vizsla.serving.answers import choose_form
    from vizsla.serving.bodies import read_pictures
    from vizsla.serving.faults import RequestError
    from vizsla.serving.shelves import FolderShelf

KINDS = (
    "image/jpeg",
    "application/json",
    "multipart/form-data; boundary=b",
    "application/x-npy",
)
LIMITS = Limits(max_bytes=1 << 20, max_pixels=1_000_000, seconds=2.0)
PREPROCESSING = Preprocessing.from_timm(
    {"input_size": (3, 32, 32), "crop_pct": 0.875, "interpolation": "bicubic", "mean": (0, 0, 0), "std": (1, 1, 1)}
)


async def no_links(urls: Sequence[str]) -> list[bytes]:
    """Links are not followed here."""
    raise RequestError("url-refused", "No links.")


def body(data: bytes) -> None:
    """The first byte chooses the content type; the rest is the body, read and decoded as a request's is."""
    kind = KINDS[data[0] % len(KINDS)] if data else "text/csv"
    try:
        pictures, _ = LOOP.run_until_complete(read_pictures(data[1:], kind, no_links))
        for picture in pictures[:4]:
            if isinstance(picture, bytes):
                pixels = PREPROCESSING(picture, LIMITS)
            elif picture.size < 1_000_000:
                pixels = PREPROCESSING.apply(Image.fromarray(picture))
            else:
                continue
            assert pixels.shape == (32, 32, 3)
            assert pixels.dtype == np.uint8
    except (RequestError, ImageError):
        return


def name(data: bytes) -> None:
    """A target's name never leads out of the folder of models."""
    try:
        found = SHELF.locate(data.decode("utf-8", "surrogateescape"))
    except RequestError:
        return
    assert found.resolve().is_relative_to(SHELF.root)


def headers(data: bytes) -> None:
    """Accept, Authorization and X-Amz-Date of a request."""
    first, _, rest = data.decode("latin-1").partition("\n")
    second, _, third = rest.partition("\n")
    for call in (
        lambda: choose_form(first, json_asked=bool(second), explain=len(data) % 2 == 1),
        lambda: Access(sigv4={"AKID": "secret"}).check({"authorization": second, "x-amz-date": third}),
    ):
        try:
            call()
        except RequestError:
            continue


def archive(data: bytes) -> None:
    """A model's archive: the first byte says whether the rest is packed as it is, cut off, or is the file itself."""
    file, kind = FOLDER / "model.tar.gz", data[0] % 5 if data else 4
    content = (gzip.compress, lzma.compress, bz2.compress, gzip.compress, bytes)[kind](data[1:])
    file.write_bytes(content[: len(content) - 9] if kind == 3 else content)
    try:
        artifact.load(file, most=1 << 20)
    except ModelError:
        return


def seeds(target: str) -> list[bytes]:
    """Inputs that are well formed."""
    if target == "name":
        return [b"dogs/model.tar.gz", b"../x", b"dogs", b"/etc/passwd"]
    if target == "headers":
        signature = b"AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/sagemaker/aws4_request, "
        signed = signature + b"SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
        return [b"text/csv;q=0.5, application/json\n" + signed + b"\n20261121T000000Z"]
    pictures = {form: io.BytesIO() for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")}
    for form, file in pictures.items():
        Image.linear_gradient("L").resize((24, 18)).convert("RGB").save(file, form)
    if target == "archive":
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for part, content in (("model.json", b"{}"), ("head.safetensors", b"\0" * 16)):
                entry = tarfile.TarInfo(part)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return [bytes([kind]) + file.getvalue() for kind in range(5)]
    jpeg = pictures["JPEG"].getvalue()
    array = io.BytesIO()
    np.save(array, np.zeros((2, 8, 8, 3), np.uint8))
    parts = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + jpeg + b"\r\n--b--\r\n"
    document = json.dumps({"images": [base64.b64encode(jpeg).decode()]}).encode()
    return [
        *(b"\0" + file.getvalue() for file in pictures.values()),
        b"\1" + document,
        b"\2" + parts,
        b"\3" + array.getvalue(),
    ]


TARGETS: dict[str, Callable[[bytes], None]] = {"body": body, "name": name, "headers": headers, "archive": archive}
LOOP = asyncio.new_event_loop()
FOLDER = Path(tempfile.mkdtemp(prefix="vizsla-fuzz-"))
(FOLDER / "models" / "dogs" / "model").mkdir(parents=True)
(FOLDER / "models" / "out").symlink_to("/etc")
SHELF = FolderShelf(FOLDER / "models")


def main() -> None:
    """Fuzz one target until an input does what it must not, or the time is over."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m benchmarks.fuzz {'|'.join(TARGETS)} [libFuzzer options]")
    target = sys.argv[1]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(target)):
        (corpus / str(number)).write_bytes(seed)
    options = ["-timeout=20", "-rss_limit_mb=4096", f"-artifact_prefix={FOLDER}/", *sys.argv[2:], str(corpus)]
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
