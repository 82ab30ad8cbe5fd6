"""Where models come from: named on the command line, a folder of many, an s3:// prefix of many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from vizsla.errors import UsageError
from vizsla.models.artifact import ARCHIVE, CARD
from vizsla.serving.faults import RequestError
from vizsla.serving.s3 import S3Address, download

_NAME = re.compile(r"[^\x00-\x1f\x7f\\]{1,1024}")


class Shelf(Protocol):
    """Finds a model by the name that a client calls it by. Called from loader threads."""

    def locate(self, name: str) -> Path:
        """A local model directory or archive.

        Raises
        ------
        RequestError
            ``target-name`` for a name that leaves the shelf, ``target-unknown`` when there is none.
        """
        ...

    def url(self, name: str) -> str:
        """Where the model is, for a person."""
        ...


def safe_parts(name: str) -> PurePosixPath:
    """A target's name as a relative path that cannot climb.

    Raises
    ------
    RequestError
        ``target-name``.
    """
    path = PurePosixPath(name)
    if not _NAME.fullmatch(name) or path.is_absolute() or ".." in path.parts or not path.parts or "~" in name[:1]:
        raise RequestError(
            "target-name",
            f"{name[:200]!r} cannot name a model.",
            where="TargetModel",
            allowed="a relative path such as dogs/model.tar.gz, without '..'",
        )
    return path


def unknown(name: str, where: str) -> RequestError:
    """The error for a model that is not there."""
    return RequestError(
        "target-unknown",
        f"There is no model {name[:200]!r}.",
        where=where,
        do="check TargetModel; it is the path below the models' folder, such as dogs/model.tar.gz",
    )


class NamedShelf:
    """Models given one by one."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)

    def locate(self, name: str) -> Path:
        """The path that was given under this name."""
        safe_parts(name)
        if name not in self.paths:
            raise unknown(name, f"loaded: {', '.join(sorted(self.paths)[:20])}")
        return self.paths[name]

    def url(self, name: str) -> str:
        """The path that was given."""
        return str(self.paths[name])


class FolderShelf:
    """A folder of model directories and archives, at any depth; links that lead out of it are refused."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(
                "There is no such folder of models.", where=root, allowed="a folder, or s3://bucket/prefix"
            )
        self.root = root.resolve()

    def locate(self, name: str) -> Path:
        """A model directory, or an archive; ``x/model.tar.gz`` also finds the directory ``x``."""
        parts = safe_parts(name)
        candidates = [self.root / parts]
        if parts.name == ARCHIVE:
            candidates.append(self.root / parts.parent)
        for candidate in candidates:
            try:
                resolved = candidate.resolve(strict=True)
            except (OSError, RuntimeError):
                continue
            if not resolved.is_relative_to(self.root):
                raise RequestError(
                    "target-name", f"{name[:200]!r} leads out of the models' folder.", where="TargetModel"
                )
            if resolved.is_file() or any((resolved / p).exists() for p in (CARD, "model", "code")):
                return resolved
        raise unknown(name, str(self.root))

    def within(self, name: str, url: str) -> Path:
        """The local path that ``POST /models`` names, which must lie in the folder.

        Raises
        ------
        RequestError
            ``target-name`` when it does not, ``target-unknown`` when it is not there.
        """
        try:
            resolved = (self.root / url).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise unknown(name, url) from error
        if not resolved.is_relative_to(self.root):
            raise RequestError(
                "target-name",
                "Models are loaded from the models' folder only.",
                where=f"url {url[:200]!r}",
                allowed=f"a path in {self.root}",
            )
        return resolved

    def url(self, name: str) -> str:
        """The path."""
        return str(self.root / safe_parts(name))


class S3Shelf:
    """Archives under an s3:// prefix, fetched when asked for and kept in the cache by their ETag."""

    def __init__(self, address: S3Address, cache: Path) -> None:
        self.address = address
        self._cache = cache

    def locate(self, name: str) -> Path:
        """The archive, fetched."""
        try:
            return download(self.address.child(safe_parts(name).as_posix()), self._cache)
        except FileNotFoundError as error:
            raise unknown(name, str(self.address)) from error

    def url(self, name: str) -> str:
        """Its s3:// address."""
        return str(self.address.child(safe_parts(name).as_posix()))
