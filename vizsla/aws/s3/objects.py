"""Objects as files: opened, put in place in one step, removed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import metadata as meta
from vizsla.aws.s3.metadata import Metadata
from vizsla.aws.s3.places import beside_of, plain_file, staging

_CHANGE = threading.Lock()
"""Held for the moment of a change, so that a condition still holds when the file takes its place."""
_COPY_BLOCK = 64 << 20
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO}

Check = Callable[[str | None], object]
"""Given the ETag of what is there, raises when it must not be replaced."""


@dataclass(frozen=True)
class OpenObject:
    """An object, open for reading: another may take its place meanwhile."""

    file: IO[bytes]
    size: int
    modified: float
    metadata: Metadata

    def close(self) -> None:
        """Let go of it."""
        self.file.close()


def open_object(root: Path, key: str) -> OpenObject:
    """Open an object.

    Raises
    ------
    AwsError
        NoSuchKey, and for keys that cannot be files.
    """
    plain = plain_file(root, key)
    for path in (plain, beside_of(plain)):
        try:
            number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not for ever at a pipe
        except OSError as error:
            if error.errno in _NO_FILE:
                continue
            if error.errno == errno.EACCES:
                raise AwsError(
                    "AccessDenied", f"This server may not read the file of the object {key!r}.", 403
                ) from error
            raise
        status = os.fstat(number)
        if modes.S_ISREG(status.st_mode):
            file = os.fdopen(number, "rb", buffering=0)
            return OpenObject(file, status.st_size, status.st_mtime, meta.read(number, status, key))
        os.close(number)
    raise AwsError("NoSuchKey", f"The specified key does not exist: {key!r}.", 404)


def etag_of(root: Path, key: str) -> str | None:
    """The ETag of an object; None where there is none.

    Raises
    ------
    AwsError
        For keys that cannot be files, and files that may not be read.
    """
    try:
        with contextlib.closing(open_object(root, key)) as found:
            return found.metadata.etag
    except AwsError as error:
        if error.code != "NoSuchKey":
            raise
        return None


@contextlib.contextmanager
def incoming(home: Path, root: Path) -> Iterator[Path]:
    """The name for a file that is to become an object; what is left of it at the end is removed."""
    folder = staging(home, root) / "incoming"
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid.uuid4().hex
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def put_in_place(root: Path, key: str, temporary: Path, check: Check | None = None) -> None:
    """Rename a whole file, metadata and all, to an object.

    Raises
    ------
    AwsError
        What ``check`` raises; NoSuchBucket where it was deleted meanwhile.
    """
    plain = plain_file(root, key)
    beside = beside_of(plain)
    with _CHANGE:
        if check is not None:
            check(etag_of(root, key))
        is_beside = os.path.isdir(plain) or (os.path.isfile(beside) and not os.path.isfile(plain))
        target = beside if is_beside else plain
        try:
            os.replace(temporary, target)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not root.is_dir():
                raise AwsError(
                    "NoSuchBucket", "The specified bucket does not exist: it was just deleted.", 404
                ) from error
            make_folders(root, os.path.dirname(target))
            os.replace(temporary, target)


def make_folders(root: Path, folder: str) -> None:
    """Make the folders above an object, from its bucket down; an object that has the name of one is put beside it."""
    place = str(root)
    for name in os.path.relpath(folder, root).split("/"):
        place = f"{place}/{name}"
        if not os.path.isdir(place):
            if os.path.lexists(place):
                os.replace(place, beside_of(place))
            with contextlib.suppress(FileExistsError):  # made by another meanwhile
                os.mkdir(place)


def remove(root: Path, key: str, check: Check | None = None) -> None:
    """Remove an object, and the folders that are empty then; nothing where there is none.

    Raises
    ------
    AwsError
        What ``check`` raises, and for keys that cannot be files.
    """
    plain = plain_file(root, key)
    with _CHANGE:
        if check is not None:
            check(etag_of(root, key))
        for path in (plain, beside_of(plain)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                if not os.path.isdir(path):  # a link to one is another's
                    os.unlink(path)
        folder = os.path.dirname(plain)
        with contextlib.suppress(OSError):  # not empty, or a link
            while folder != str(root):
                os.rmdir(folder)
                folder = os.path.dirname(folder)


def copy_range(source: IO[bytes], target: IO[bytes], start: int, count: int) -> None:
    """Append ``count`` bytes of one file from ``start`` to another; a disk that can shares them.

    Raises
    ------
    AwsError
        IncompleteBody where there are not so many.
    """
    number = target.fileno()
    at, end = start, start + count
    while at < end:
        try:
            copied = os.copy_file_range(source.fileno(), number, min(_COPY_BLOCK, end - at), at)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
                raise
            copied = os.write(number, os.pread(source.fileno(), min(1 << 20, end - at), at))
        if copied == 0:
            raise AwsError("IncompleteBody", "An object became shorter while it was copied.")
        at += copied
