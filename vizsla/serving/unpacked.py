"""Archives of models with code, unpacked: each in a temporary folder that is locked while its server lives."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vizsla.errors import ModelError
from vizsla.tarballs import DAMAGED, read_to_the_end

_PREFIX = "vizsla-code-"
_MAX_UNPACKED_BYTES = 20_000_000_000
_MAX_MEMBERS = 20_000


class Unpacked:
    """An archive's content in ``folder``; links, devices and paths that leave it are refused (PEP 706).

    ``check`` is called while the archive is read, and raises to give that up.

    Raises
    ------
    ModelError
        When the archive is damaged, unpacks to too much, or holds what is refused.
    """

    def __init__(self, archive: Path, check: Callable[[], None]) -> None:
        self.folder, self._lock = _locked_folder()
        size = 0
        try:
            with _Watched(archive, check) as raw, tarfile.open(fileobj=io.BufferedReader(raw), mode="r:*") as tar:
                for count, member in enumerate(tar):
                    size += member.size
                    if size > _MAX_UNPACKED_BYTES or count > _MAX_MEMBERS:
                        raise ModelError("The archive unpacks to too much.", where=archive)
                    tar.extract(member, self.folder, filter="data")
                read_to_the_end(tar)
        except BaseException as error:
            self.remove()
            if isinstance(error, DAMAGED):
                raise ModelError(f"The archive cannot be unpacked: {error}.", where=archive) from error
            raise

    def remove(self) -> None:
        """Remove the folder; may take long."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_abandoned() -> None:
    """Remove what servers have left that were killed. May take long."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its server lives
            shutil.rmtree(folder, ignore_errors=True)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):  # taken for abandoned before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(OSError):  # where nothing can be locked, nothing is taken for abandoned
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield file
    finally:
        os.close(file)


class _Watched(io.FileIO):
    """A file that calls ``check`` at every read."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(path)
        self._check = check

    def readinto(self, buffer: Any, /) -> int | None:
        """As of the base class."""
        self._check()
        return super().readinto(buffer)
