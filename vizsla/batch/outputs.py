"""Where the answers go: a ``.out`` for each input, here or in a bucket, or the journal that becomes one table."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from vizsla import s3_session
from vizsla.errors import StorageError
from vizsla.files import storage

SUFFIX = ".out"


class Folder:
    """Files below a folder, beside the structure of the inputs' keys. Each appears whole."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: set[Path] = set()
        with storage(root):
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".{os.getpid()}.tmp"
            probe.write_bytes(b"")
            probe.unlink()

    def put(self, key: str, content: bytes) -> None:
        """Write the output of an input.

        Raises
        ------
        StorageError
            When the file system refuses.
        """
        path = self.place(key)
        temporary = path.with_name(f".{os.getpid()}-{hash(key) & 0xFFFFFFFF:x}.tmp")
        with storage(path):
            # Not synced: a kill leaves it whole or not there, and a machine that fails leaves a journal as old as it.
            temporary.write_bytes(content)
            os.replace(temporary, path)

    def put_file(self, key: str, file: Path) -> None:
        """Move a file that was written piece by piece to its place."""
        path = self.place(key)
        temporary = path.with_name(f".{path.name}.tmp")
        with storage(path):
            shutil.move(file, temporary)  # which copies where that is another file system
            os.replace(temporary, path)

    def place(self, key: str) -> Path:
        """The file of an input's output, in a folder that is there."""
        path = self.root / (key + SUFFIX)
        if path.parent not in self._folders:
            with storage(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        return path


def open_output(place: str) -> Folder | Bucket:
    """Where whole answers go, by its path or s3:// address."""
    return Bucket(place) if place.startswith("s3://") else Folder(Path(place))


class Bucket:
    """Objects under ``s3://bucket/prefix``."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        bucket, self._prefix = s3_session.parse(address)
        self._store: Any = s3_session.connect(bucket, None, patient=True)
        self._bucket = bucket
        self._check_writable()

    def _check_writable(self) -> None:
        where, key = self.address, self._key(".vizsla-write-check")
        try:
            with s3_session.in_words(where):
                store = s3_session.connect(self._bucket, None)
                s3_session.obstore().put(store, key, b"", use_multipart=False)
                s3_session.obstore().delete(store, key)
        except Exception as error:
            what = getattr(error, "what", str(error))
            raise StorageError(
                f"Cannot write here: {what}", where=where, do=getattr(error, "do", None) or "choose another address"
            ) from error

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def put(self, key: str, content: bytes) -> None:
        """Write the output of an input; raises :class:`SourceError` when the service refuses."""
        with s3_session.in_words(f"{self.address}/{key}{SUFFIX}"):
            s3_session.obstore().put(self._store, self._key(key + SUFFIX), content)

    def put_file(self, key: str, file: Path) -> None:
        """Write it from a file, which goes."""
        with s3_session.in_words(f"{self.address}/{key}{SUFFIX}"):
            s3_session.obstore().put(self._store, self._key(key + SUFFIX), file)
        file.unlink(missing_ok=True)
