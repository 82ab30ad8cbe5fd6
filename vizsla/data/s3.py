"""Mirroring a bucket's pictures into the cache: in parallel, only what changed, going on where it stopped.

obstore (the Rust crate object_store) and not boto3: a GET costs about a fifth of boto3's processor time, which is
what bounds the rate for many small objects (docs/data.md has the measurement).
"""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import glob
import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vizsla import s3_session
from vizsla.cache import filling, release, use
from vizsla.data.progress import Progress
from vizsla.data.s3_journal import Journal, Object
from vizsla.data.tree import LABEL_ENDINGS
from vizsla.errors import SourceError
from vizsla.files import storage
from vizsla.images import readable_suffixes
from vizsla.images.formats import ENDINGS

THREADS = 32
_LARGE = 8 << 20
_JOURNAL = "journal.tsv"
_LONGEST_NAME = 200
"""Bytes of a file's name: 255 on most disks, less what is put around it while it is fetched."""
_FICLONE = 0x40049409  # linux/fs.h


@dataclass(frozen=True)
class Mirror:
    """What a sync did: objects that were fetched, were there already, and vanished from the bucket; bytes in all.

    ``others`` counts, by ending, the objects whose names are not those of pictures: they were not fetched.
    """

    folder: Path
    fetched: int
    kept: int
    removed: int
    bytes: int
    others: Counter[str] = field(default_factory=Counter)


def sync(
    url: str,
    cache: Path,
    *,
    endpoint_url: str | None = None,
    also: Sequence[str] = (),
    on_progress: Progress = lambda done, total: None,
    threads: int = THREADS,
) -> Mirror:
    """Mirror the pictures under ``s3://bucket/prefix``, and what may hold their labels, into a folder of the cache.

    An object is fetched when its ETag or size is not the one in the journal, or its file is missing. Every
    finished object is journalled, so that a broken sync goes on where it stopped. The mirror loses what the
    bucket has lost; nothing outside the cache is touched. Of several processes one syncs at a time.

    Parameters
    ----------
    also:
        Further names (relative to the prefix) to mirror, that are no pictures.

    Raises
    ------
    SourceError
        When the endpoint cannot be reached, access is refused, the bucket is missing, or nothing lies there.
    """

    others: Counter[str] = Counter()

    def pictures(store: Any, prefix: str, where: str) -> dict[str, Object]:
        return _pictures(store, prefix, where, also, others)

    with _mirror(url, cache, "s3", endpoint_url, pictures, on_progress, threads) as (mirror, _):
        return replace(mirror, others=others)


def copy(url: str, cache: Path, place: Path, *, on_progress: Progress = lambda done, total: None) -> Mirror:
    """Copy everything under ``s3://bucket/prefix``, or the one object of that name, into the empty folder ``place``.

    By way of a mirror in the cache, as :func:`sync`; the copies are nobody else's.

    Raises
    ------
    SourceError
        As :func:`sync`, and for names that no files can have.
    StorageError
        When the disk is full.
    """
    with _mirror(url, cache, "all", None, _everything, on_progress, THREADS) as (mirror, names):
        for name in names:
            with storage(place / name):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                _clone(mirror.folder / name, place / name)
    release(mirror.folder.parent)
    return mirror


@contextlib.contextmanager
def _mirror(
    url: str,
    cache: Path,
    kind: str,
    endpoint_url: str | None,
    choose: Callable[[Any, str, str], dict[str, Object]],
    on_progress: Progress,
    threads: int,
) -> Iterator[tuple[Mirror, list[str]]]:
    """The mirror brought up to date, and the names of its files; nobody changes it within the block."""
    bucket, prefix = s3_session.parse(url)
    endpoint_url = s3_session.endpoint(endpoint_url)
    where = f"s3://{bucket}/{prefix}" + (f" at {endpoint_url}" if endpoint_url else "")
    store = s3_session.connect(bucket, endpoint_url)
    place = hashlib.sha256(f"{endpoint_url}|{bucket}|{prefix}".encode()).hexdigest()[:16]
    home = cache / "sources" / f"{kind}-{place}"
    with filling(home):
        with s3_session.in_words(where):
            objects = choose(store, prefix, where)
        store = s3_session.connect(bucket, endpoint_url, patient=True)
        mirror = _sync(store, where, home / (PurePosixPath(prefix).name or bucket), objects, on_progress, threads)
        use(home, where, mirror.bytes)
        yield mirror, list(objects)


def _pictures(store: Any, prefix: str, where: str, also: Sequence[str], others: Counter[str]) -> dict[str, Object]:
    objects = dict(_objects(store, prefix, where))
    endings = {name: os.path.splitext(name)[1].lower() for name in objects}
    meant = ENDINGS.keys() if not ENDINGS.keys().isdisjoint(endings.values()) else {".tar"}  # shards
    chosen: dict[str, Object] = {}
    for name, remote in objects.items():
        if endings[name] in meant or endings[name] in LABEL_ENDINGS or name in also:
            chosen[name] = remote
        elif remote.size:  # consoles make a folder by an empty object
            others[endings[name] or "no ending"] += 1
    if meant.isdisjoint(endings.values()):
        raise SourceError(
            "There are no pictures under this address.",
            where=where,
            allowed="objects whose names end in " + " ".join(sorted(readable_suffixes())),
            do="check the prefix (upper and lower case count)",
        )
    return chosen


def _everything(store: Any, prefix: str, where: str) -> dict[str, Object]:
    objects = {name: remote for name, remote in _objects(store, prefix, where) if name}
    folders = {str(parent) for name in objects for parent in PurePosixPath(name).parents}
    for name, remote in list(objects.items()):
        # Consoles make a folder by an empty object whose name ends in a slash, which a list here does not show.
        could_be = remote.size == 0 and "." not in PurePosixPath(name).name
        if (remote.size == 0 and name in folders) or (could_be and _head(store, remote.key) is None):
            del objects[name]
        elif name in folders:
            raise SourceError(
                f"Object {name!r} would be a file and a folder at once.", where=where, do="rename it, or move it away"
            )
    if not objects and prefix and (named := _head(store, prefix)) is not None:
        objects = {PurePosixPath(prefix).name: named}
    if not objects:
        raise SourceError(
            "Nothing lies under this address.",
            where=where,
            do="check the prefix (upper and lower case count)" if prefix else "put something into the bucket",
        )
    return objects


def _head(store: Any, key: str) -> Object | None:
    try:
        return _object(s3_session.obstore().head(store, key))
    except FileNotFoundError:
        return None


def _sync(
    store: Any, where: str, folder: Path, objects: dict[str, Object], on_progress: Progress, threads: int
) -> Mirror:
    home = folder.parent
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(home / _JOURNAL)
    removed = _remove_others(folder, objects, journal)  # first: a file may give way to a folder of its name
    missing = [(name, remote) for name, remote in objects.items() if not _is_there(folder / name, remote, journal)]
    with s3_session.in_words(where):
        _fetch_all(store, folder, missing, journal, on_progress, threads)
    journal.compact(objects)
    size = sum(remote.size for remote in objects.values())
    return Mirror(folder, len(missing), len(objects) - len(missing), removed, size)


def fetch(url: str, cache: Path, *, endpoint_url: str | None = None, on_progress: Progress) -> Path:
    """Mirror one object, such as an archive; a broken transfer goes on where it stopped.

    Raises
    ------
    SourceError
        As :func:`sync` does.
    """
    bucket, key = s3_session.parse(url)
    name = PurePosixPath(key).name
    endpoint_url = s3_session.endpoint(endpoint_url)
    home = cache / "downloads" / hashlib.sha256(f"{endpoint_url}|{url}".encode()).hexdigest()[:16]
    store = s3_session.connect(bucket, endpoint_url)
    where = f"s3://{bucket}/{key}"
    with filling(home), s3_session.in_words(where):
        with storage(home):
            home.mkdir(parents=True, exist_ok=True)
        remote = _object(s3_session.obstore().head(store, key))
        journal = Journal(home / _JOURNAL)
        if not _is_there(home / name, remote, journal):
            store = s3_session.connect(bucket, endpoint_url, patient=True)
            _fetch_one(store, home / name, remote)  # in this thread: nobody waits for one more to end
            journal.add(remote)
            journal.flush()
            on_progress(1, 1)
        use(home, where, remote.size)
    return home / name


def _objects(store: Any, prefix: str, where: str) -> Iterator[tuple[str, Object]]:
    """Every object under the prefix, by its name relative to the prefix."""
    start = len(prefix) + 1 if prefix else 0
    for chunk in s3_session.obstore().list(store, prefix or None, chunk_size=1000):
        for meta in chunk:
            name = meta["path"][start:]
            parts = name.split("/")
            if ".." in parts or "\\" in name or max(map(len, map(os.fsencode, parts))) > _LONGEST_NAME:
                raise s3_session.no_file_name(meta["path"], where)
            yield name, _object(meta)


def _object(meta: Any) -> Object:
    etag = meta.get("e_tag")
    return Object(meta["path"], meta["size"], etag or str(meta["last_modified"]), bool(etag))


def _is_there(file: Path, remote: Object, journal: Journal) -> bool:
    if journal.entries.get(remote.key) != (remote.etag, remote.size):
        return False
    try:
        return file.stat().st_size == remote.size
    except OSError:
        return False


def _fetch_all(
    store: Any, folder: Path, missing: list[tuple[str, Object]], journal: Journal, on_progress: Progress, threads: int
) -> None:
    turn, stop, done = iter(missing), threading.Event(), 0
    lock = threading.Lock()

    def worker() -> None:
        nonlocal done
        while not stop.is_set():
            with lock:
                entry = next(turn, None)
            if entry is None:
                return
            name, remote = entry
            _fetch_one(store, folder / name, remote)
            with lock:
                journal.add(remote)
                done += 1
                on_progress(done, len(missing))

    for parent in {(folder / name).parent for name, _ in missing}:
        with storage(parent):
            parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads, thread_name_prefix="s3") as pool:
        try:
            workers = [pool.submit(contextvars.copy_context().run, worker) for _ in range(min(threads, len(missing)))]
            wait(workers, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    journal.flush()
    for future in workers:
        future.result()


def _fetch_one(store: Any, file: Path, remote: Object) -> None:
    """Fetch one object; a large one in pieces, after what an earlier attempt has left."""
    part = _part(file, remote)
    if remote.size <= _LARGE:
        data = _bytes(store, remote, None) if remote.size else b""
        with storage(file):
            part.write_bytes(data)
            os.replace(part, file)
        return
    have = part.stat().st_size if part.is_file() else 0
    while have < remote.size:
        end = min(remote.size, have + _LARGE)
        data = _bytes(store, remote, (have, end))
        with storage(part), open(part, "ab") as target:
            target.write(data)
        have = end
    with storage(file):
        if part.stat().st_size != remote.size:
            part.unlink()
            raise _changed(remote)
        os.replace(part, file)
    for older in file.parent.glob(f".{glob.escape(file.name)}.*.part"):
        older.unlink(missing_ok=True)


def _bytes(store: Any, remote: Object, span: tuple[int, int] | None) -> bytes:
    """The bytes of the version that was listed, or a span of them; not every service heeds ``if_match``."""
    options = ({} if span is None else {"range": span}) | ({"if_match": remote.etag} if remote.has_etag else {})
    answer = s3_session.obstore().get(store, remote.key, options=options)
    data = bytes(answer.bytes())
    expected = remote.size if span is None else span[1] - span[0]
    if len(data) != expected or (remote.has_etag and answer.meta.get("e_tag") not in (None, remote.etag)):
        raise _changed(remote)
    return data


def _changed(remote: Object) -> SourceError:
    return SourceError(
        "An object has changed while it was fetched.",
        where=remote.key,
        do=s3_session.again(),
    )


def _part(file: Path, remote: Object) -> Path:
    """Where the bytes of this version are gathered."""
    return file.with_name(f".{file.name}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:8]}.part")


def _remove_others(folder: Path, objects: dict[str, Object], journal: Journal) -> int:
    keys = {remote.key for remote in objects.values()}
    lost = [key for key in journal.entries if key not in keys]
    if not lost:
        return 0
    removed = 0
    parts = {_part(folder / name, remote) for name, remote in objects.items()}
    for file in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if file.is_dir():
            with contextlib.suppress(OSError):
                file.rmdir()  # an empty one
        elif file.relative_to(folder).as_posix() not in objects and file not in parts:
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def _clone(source: Path, target: Path) -> None:
    """Copy a file; a disk that can shares the bytes until one of both is written to."""
    with open(source, "rb") as read, open(target, "wb") as written:
        try:
            fcntl.ioctl(written, _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, _LARGE)
