"""The cache in a bucket, ``VIZSLA_CACHE=s3://bucket/prefix``: what one machine has computed is there for all.

On this machine the cache is a folder still. Of it features, what scans have found and exported backbones are shared:
files that are named by their content and never changed. One is put into the bucket before it is written here, and what
the bucket has more is fetched when a folder is looked into. Sources, pixels and activations are a machine's own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vizsla import s3_session
from vizsla.files import write_bytes
from vizsla.settings import settings

_AT_ONCE = 16


def fetch(folder: Path) -> None:
    """:func:`fetch_files` of all that the bucket has for a folder of the cache; without a bucket, nothing."""
    if settings().cache_bucket is None:
        return
    store, where = _store()
    key = _key(folder)
    with s3_session.in_words(where):
        found = s3_session.obstore().list_with_delimiter(store, key)["objects"]
    names = [str(entry["path"]).rpartition("/")[2] for entry in found]
    fetch_files(folder, [name for name in names if not name.startswith(".")])


def fetch_files(folder: Path, names: Sequence[str]) -> None:
    """Fetch some files of a folder of the cache that are not here; what the bucket does not have is left out.

    Raises
    ------
    SourceError
        When the bucket does not answer as it should.
    StorageError
        When the disk is full.
    """
    if settings().cache_bucket is None:
        return
    store, where = _store()
    key = _key(folder)

    def one(name: str) -> None:
        with s3_session.in_words(where), contextlib.suppress(FileNotFoundError):
            content = bytes(s3_session.obstore().get(store, f"{key}/{name}").bytes())
            write_bytes(folder / name, content, make_folder=True)

    missing = [name for name in names if not (folder / name).exists()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, missing))


def write(path: Path, content: bytes) -> None:
    """Write a file of the cache in one step, where there is a bucket there first.

    Raises
    ------
    SourceError
        When the bucket does not answer as it should.
    StorageError
        When the file system refuses.
    """
    if settings().cache_bucket is not None:
        store, where = _store()
        with s3_session.in_words(where):
            s3_session.obstore().put(store, _key(path), content)
    write_bytes(path, content, make_folder=True)


def remove(path: Path) -> None:
    """Remove a file that is damaged or no longer needed, here and in the bucket.

    Raises
    ------
    SourceError
        When the bucket does not answer as it should.
    """
    if settings().cache_bucket is not None:
        store, where = _store()
        with s3_session.in_words(where), contextlib.suppress(FileNotFoundError):
            s3_session.obstore().delete(store, _key(path))
    path.unlink(missing_ok=True)


def _store() -> tuple[Any, str]:
    address = settings().cache_bucket or ""
    with s3_session.in_words(address):
        return _connected(address, s3_session.endpoint(None)), address


@functools.cache
def _connected(address: str, _service: str | None) -> Any:
    return s3_session.connect(s3_session.parse(address)[0], None)


def _key(path: Path) -> str:
    now = settings()
    prefix = s3_session.parse(now.cache_bucket or "")[1]
    return "/".join(filter(None, (prefix, path.absolute().relative_to(now.cache.absolute()).as_posix())))
