"""Uploads in parts, on disk: a folder with what the object will be and a file a part, until it is completed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import metadata as meta
from vizsla.aws.s3.metadata import Metadata
from vizsla.aws.s3.places import staging
from vizsla.files import write_json

MOST_PARTS = 10_000
_ID = re.compile(r"[0-9a-f]{32}")
_REQUEST = "upload.json"


@dataclass(frozen=True)
class Upload:
    """``algorithm`` (lower case) and ``checksum_type`` (COMPOSITE, FULL_OBJECT) are the client's choice."""

    id: str
    key: str
    begun: float
    headers: dict[str, str] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=dict)
    algorithm: str = ""
    checksum_type: str = "COMPOSITE"


@dataclass(frozen=True)
class Part:
    """A part that has come."""

    number: int
    path: Path
    size: int
    modified: float
    metadata: Metadata


def begin(home: Path, root: Path, key: str, begun: float, **facts: Any) -> Upload:
    """A new upload."""
    upload = Upload(uuid.uuid4().hex, key, begun, **facts)
    write_json(_folder(home, root, upload.id) / _REQUEST, {"bucket": str(root), **asdict(upload)}, make_folder=True)
    return upload


def find(home: Path, root: Path, key: str, identity: str) -> tuple[Upload, Path]:
    """An upload of that key that is not completed, and its folder.

    Raises
    ------
    AwsError
        NoSuchUpload.
    """
    if _ID.fullmatch(identity):
        folder = _folder(home, root, identity)
        upload = _read(folder, root)
        if upload is not None and upload.key == key:
            return upload, folder
    raise AwsError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        404,
    )


def all_of(home: Path, root: Path) -> Iterator[Upload]:
    """The uploads to a bucket, by key and time."""
    folders = (staging(home, root) / "uploads").glob("*")
    uploads = [upload for folder in folders if (upload := _read(folder, root)) is not None]
    yield from sorted(uploads, key=lambda upload: (upload.key, upload.begun))


def part_file(folder: Path, number: int) -> Path:
    """Where a part lies."""
    return folder / f"{number:05}"


def parts_of(folder: Path) -> dict[int, Part]:
    """The parts that have come, by number."""
    parts = {}
    for path in sorted(folder.glob("[0-9]" * 5)):
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            kept = meta.kept(file.fileno(), status) or Metadata(md5_of(path))  # a disk without attributes
        parts[int(path.name)] = Part(int(path.name), path, status.st_size, status.st_mtime, kept)
    return parts


def end(folder: Path) -> None:
    """Forget an upload and its parts."""
    shutil.rmtree(folder, ignore_errors=True)


def _folder(home: Path, root: Path, identity: str) -> Path:
    return staging(home, root) / "uploads" / identity


def _read(folder: Path, root: Path) -> Upload | None:
    try:
        fields = json.loads((folder / _REQUEST).read_bytes())
        return Upload(**fields) if fields.pop("bucket") == str(root) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def md5_of(path: Path) -> str:
    """MD5 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
