"""The one entry for every source: a folder, a table, an archive, an address."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from vizsla.archives import SUFFIXES, is_archive
from vizsla.data import archives
from vizsla.data.arrange import arrange
from vizsla.data.contents import read_contents
from vizsla.data.dataset import Dataset
from vizsla.data.layouts import SHARDS, list_directory, list_file
from vizsla.data.layouts.table import list_table
from vizsla.data.listing import Listing
from vizsla.data.options import SourceOptions as SourceOptions
from vizsla.data.progress import Progress
from vizsla.data.table_file import TABLES
from vizsla.data.tree import in_counts, type_of_file
from vizsla.errors import DataError, SourceError, UsageError
from vizsla.settings import settings

_SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|token|s(v|e|p|r|t|ig|pr|s|rt)",
    re.IGNORECASE,
)
"""Query parameters of signed addresses (AWS, CloudFront, Google, Azure), which are new each time."""

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_LABELS = (*TABLES, ".json", ".xml", ".txt")
"""Endings of files that hold labels: tables, and others."""


def open_dataset(
    source: str | os.PathLike[str], *, seed: int = 0, on_progress: Progress = lambda done, total: None, **options: Any
) -> Dataset:
    """Read any source of labelled pictures into a split table.

    Parameters
    ----------
    source:
        A folder with one folder a class, or with train, valid and test folders of them, or with labels in one of
        the ways in docs/data.md; a table (.csv, .tsv, .jsonl, .parquet) with the columns path, label[, split]
        [, group], or an export's .json or .xml; an archive (.zip, .tar, .tar.gz) of a folder; an http(s) address
        of an archive; ``s3://bucket/prefix`` of a folder, of an archive or of a table.
    seed:
        Decides the splits that the source does not bring.
    options:
        The fields of :class:`SourceOptions`: ``label_column="breed"``.

    Raises
    ------
    DataError
        When the source cannot be used as it stands (:class:`~vizsla.errors.SourceError` when it cannot be had).
    UsageError
        When an option does not fit the source.
    """
    return arrange(list_source(source, SourceOptions(**options), on_progress), seed=seed)


def list_source(
    source: str | os.PathLike[str],
    options: SourceOptions | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Listing:
    """What any source holds, before splits are drawn. Parameters and errors as in :func:`open_dataset`."""
    options = options or SourceOptions()
    listing = _list(os.fspath(source), options, on_progress)
    listing.compose_labels()
    listing.drop(options.drop_classes)
    listing.check_labels()
    listing.group(options.group_by)
    return listing


def source_key(source: str | os.PathLike[str], endpoint_url: str | None = None) -> str:
    """A short name that tells this source from all others: its own name and a digest of where it lies.

    A slash at the end and the signature in an address make no other source; another service (``endpoint_url``) does.
    """
    text = os.fspath(source)
    place = _address(text, endpoint_url) if "://" in text else str(Path(text).expanduser().resolve())
    stem = PurePosixPath(place.rstrip("/")).name or "data"
    return f"{stem}-{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _address(url: str, endpoint_url: str | None) -> str:
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "s3":
        from vizsla import s3_session

        service = s3_session.endpoint(endpoint_url)
        return f"s3://{rest.strip('/')}" + (f" at {service}" if service else "")
    parts = urllib.parse.urlsplit(url)
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    query = urllib.parse.urlencode([(name, value) for name, value in pairs if not _SIGNATURE.fullmatch(name)])
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme.lower(), host.lower(), parts.path.rstrip("/"), query, ""))


def _list(source: str, options: SourceOptions, on_progress: Progress) -> Listing:
    cache = settings().cache
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if options.sha256 is not None:
        _check_sha256(options.sha256, scheme)
    if scheme in ("http", "https"):
        from vizsla.data.download import download

        name = PurePosixPath(source.partition("?")[0]).name
        if not is_archive(name):
            raise SourceError(
                f"Only archives are fetched by {scheme}; this address ends in {name!r}.",
                where=source.partition("?")[0],
                allowed=" ".join(SUFFIXES),
            )
        file = download(source, cache, sha256=options.sha256, on_progress=on_progress)
        return _archive(file, cache, options, on_progress)
    if scheme == "s3":
        return _list_s3(source, cache, options, on_progress)
    if scheme:
        raise SourceError(
            f"Addresses that begin with {scheme}:// are not known.",
            where=source,
            allowed="http://, https://, s3://, or a path",
        )
    path = Path(source).expanduser()
    if path.is_dir() or not path.suffix:
        return _directory(path, cache, options, on_progress)
    if path.suffix.lower() in _LABELS:
        return _table(path, options)
    if is_archive(path.name):
        return _archive(path, cache, options, on_progress)
    if path.is_file():
        raise _no_source(path)
    return list_directory(path, options)


def _no_source(file: Path) -> DataError:
    """What to do about a file that is no source, by what it is."""
    kind = type_of_file(file)
    if file.suffix.lower() in _SPREADSHEETS:
        what, do = "a spreadsheet", "save the sheet as CSV"
    elif kind is not None and kind.picture:
        what, do = kind.words, f"name the folder that holds the data set, such as {file.parent}"
    else:
        what = "a file of an unknown kind" if kind is None else kind.words
        do = (kind and kind.do) or "name the folder that holds the pictures"
    return DataError(
        f"This is {what}, and no data set.",
        where=file,
        allowed=f"a folder, a table ({' '.join(_LABELS)}), an archive ({' '.join(SUFFIXES)})",
        do=do,
    )


def _list_s3(url: str, cache: Path, options: SourceOptions, on_progress: Progress) -> Listing:
    from vizsla.data import s3

    name = PurePosixPath(url).name
    if is_archive(name):
        file = s3.fetch(url, cache, endpoint_url=options.endpoint_url, on_progress=on_progress)
        return _archive(file, cache, options, on_progress)
    is_table = PurePosixPath(name).suffix.lower() in _LABELS
    prefix = url.rpartition("/")[0] if is_table else url
    mirror = s3.sync(
        prefix, cache, endpoint_url=options.endpoint_url, also=[name] if is_table else [], on_progress=on_progress
    )
    if is_table:
        return _table(mirror.folder / name, options)
    listing = _directory(mirror.folder, cache, options, on_progress)
    if mirror.others:
        listing.notes.append(
            f"Not fetched, as their names end like no picture's: {in_counts(mirror.others, 'object')}."
        )
    return listing


def _directory(folder: Path, cache: Path, options: SourceOptions, on_progress: Progress) -> Listing:
    """A folder, or the shards in it."""
    shards = sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")])
    if not shards or (options.layout != SHARDS and read_contents(folder).pictures):
        return list_directory(folder, options)
    listing = list_directory(
        archives.unpack_shards(folder, shards, cache, on_progress=on_progress), replace(options, layout=SHARDS)
    )
    listing.name = folder.resolve().name
    return listing


def _table(file: Path, options: SourceOptions) -> Listing:
    if options.label_from is not None:
        raise UsageError(
            "Labels from names of files go with a folder only.", parameter="label_from", do="name the folder"
        )
    if options.layout is None and file.suffix.lower() in TABLES:
        return list_table(file, options)
    return list_file(file, options)


def _archive(archive: Path, cache: Path, options: SourceOptions, on_progress: Progress) -> Listing:
    folder = archives.unpack(archive, cache, on_progress=on_progress)
    listing = list_directory(folder, options)
    listing.name = archive.name.partition(".")[0] or listing.name
    return listing


def _check_sha256(text: str, scheme: str) -> None:
    if scheme not in ("http", "https"):
        raise UsageError("A checksum goes with an http(s) address only.", parameter="sha256", do="leave it out")
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"{text!r:.80} is not a SHA-256.", parameter="sha256", allowed="64 hexadecimal digits")
