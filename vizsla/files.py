"""Writing files so that a kill or a full disk leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vizsla.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENOENT}
_WRITABLE = "choose a folder that you may write to (VIZSLA_HOME for jobs, VIZSLA_CACHE for the cache)"


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into words.

    Raises
    ------
    StorageError
        For a full disk, a missing permission, a read-only folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StorageError(
                f"The disk is full: {error.strerror}.",
                where=path,
                do="free some space (`vizsla cache` shows and bounds what the cache holds) and start again; "
                "what was finished is kept",
            ) from error
        blocked = _blocked(path) if error.errno in _NO_FOLDER else None
        raise StorageError(
            f"Cannot write here: {blocked or error.strerror or error}.", where=path, do=_WRITABLE
        ) from error


def check_folder(path: Path) -> None:
    """That ``path`` is a folder, or can become one.

    Raises
    ------
    StorageError
        When a file, or a link to nothing, stands in its place or in that of a folder above it.
    """
    if blocked := _blocked(path):
        raise StorageError(f"Cannot write here: {blocked}.", where=path, do=_WRITABLE)


def _blocked(path: Path) -> str | None:
    """What stands where a folder has to be, in words."""
    place = next((place for place in (path, *path.parents) if os.path.lexists(place)), None)
    if place is None or os.path.isdir(place):
        return None
    if os.path.exists(place):
        return f"{str(place)!r} is a file, not a folder"
    return f"{str(place)!r} is a link to {os.readlink(place)!r}, where nothing is"


@contextlib.contextmanager
def replacing(path: Path, *, make_folder: bool = False, private: bool = False) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` when the block ends well.

    The bytes reach the disk before the name does. A folder that is not there is made only where that is asked:
    whoever writes into a job must not bring back one that was removed. ``private``: nobody else may read it.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    with storage(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            with open(temporary, "xb", opener=_for_owner if private else None) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_bytes(path: Path, data: bytes, *, make_folder: bool = False, private: bool = False) -> None:
    """Replace ``path`` by ``data`` in one step."""
    with replacing(path, make_folder=make_folder, private=private) as file:
        file.write(data)


def write_json(path: Path, value: Any, *, make_folder: bool = False, private: bool = False) -> None:
    """Replace ``path`` by indented JSON in one step."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), make_folder=make_folder, private=private)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a plain JSON value in canonical form (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
