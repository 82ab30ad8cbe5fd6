"""Where models come from: named on the command line, a folder of many, an s3:// prefix of many."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from vizsla.cache import release
from vizsla.errors import ModelError, SourceError, UsageError
from vizsla.models.artifact import ARCHIVE, BACKBONE, CARD, HEAD
from vizsla.parameters import door, speaking, spelled
from vizsla.serving.entry import CODE, entry_script, is_of_job, model_and_code
from vizsla.serving.faults import RequestError

_OPT_ML = Path("/opt/ml")
_NAME = re.compile(r"[^\x00-\x1f\x7f\\]{1,1024}")


class Shelf(ABC):
    """Finds a model by the name that a client calls it by. :meth:`locate` may take minutes: it has its own threads."""

    @abstractmethod
    def locate(self, name: str) -> Path:
        """A local model directory or archive.

        Raises
        ------
        RequestError
            ``target-name`` for a name that leaves the shelf, ``target-unknown`` when there is none.
        """

    @abstractmethod
    def artifact(self, name: str) -> str:
        """The name that is the artifact's own: one for all the names that find it.

        Raises
        ------
        RequestError
            As :meth:`locate`.
        """

    @abstractmethod
    def url(self, name: str) -> str:
        """Where the model is, for a person."""

    def moves(self, name: str) -> bool:
        """Whether another artifact may be found under this name later: then no model stays loaded under it for good."""
        return False

    def done(self, path: Path) -> None:  # noqa: B027 - most shelves fetch nothing
        """What :meth:`locate` gave has been read; only what was fetched for it is given up."""


def safe_parts(name: str) -> PurePosixPath:
    """A target's name as a relative path that cannot climb, spelled in the one way that names it: ``a//b`` and
    ``./a/b`` would be loaded beside ``a/b``.

    Raises
    ------
    RequestError
        ``target-name``.
    """
    path = PurePosixPath(name)
    climbs = path.is_absolute() or ".." in path.parts or not path.parts or "~" in name[:1]
    if climbs or not _NAME.fullmatch(name) or str(path) != name:
        raise RequestError(
            "target-name",
            f"{name[:200]!r} cannot name a model.",
            where="TargetModel",
            allowed="a relative path such as dogs/model.tar.gz, without '..', '.', '//' or '/' at its end",
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


class NamedShelf(Shelf):
    """Models given one by one."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)

    def locate(self, name: str) -> Path:
        """The path that was given under this name."""
        return self.paths[self.artifact(name)]

    def artifact(self, name: str) -> str:
        """The name that it was given."""
        safe_parts(name)
        match = self._name(name)
        if match is None:
            raise unknown(name, f"loaded: {', '.join(sorted(self.paths)[:20])}")
        return match

    def url(self, name: str) -> str:
        """The path that was given."""
        match = self._name(name)
        return str(self.paths[match]) if match is not None else name

    def _name(self, name: str) -> str | None:
        """``dogs/model.tar.gz``, as it would be called below a folder or prefix, is ``dogs``."""
        return next((one for one in (name, name.removesuffix(f"/{ARCHIVE}")) if one in self.paths), None)


class FolderShelf(Shelf):
    """A folder of model directories and archives, at any depth; links that lead out of it are refused. One that is
    ``filled_later`` need not be there yet: the hosting platform puts models into it before it names them."""

    def __init__(self, root: Path, *, filled_later: bool = False) -> None:
        if not root.is_dir() and not filled_later:
            raise UsageError(
                "There is no such folder of models.", where=root, allowed="a folder, or s3://bucket/prefix"
            )
        self.root = root.resolve()

    def locate(self, name: str) -> Path:
        """A model directory, or an archive; ``x/model.tar.gz`` also finds the directory ``x``."""
        return self._closed(self._found(name), name)

    def artifact(self, name: str) -> str:
        """The path below the folder, of a job's directory instead of the ``model`` in it, behind all links."""
        return self.artifact_at(self._found(name))

    def artifact_at(self, model: Path) -> str:
        """The artifact's own name, from its path behind all links; ``.`` for the folder itself."""
        job = model.parent
        if model.name == "model" and job != self.root and not (job / CARD).is_file():
            own = model_and_code(job)
            model = model if own is not None and own[0] == job else job
        return model.relative_to(self.root).as_posix()

    def _found(self, name: str) -> Path:
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
            holds_one = any((resolved / part).exists() for part in (CARD, "model", CODE))
            if resolved.is_file() or holds_one or is_of_job(resolved):
                return resolved
        raise unknown(name, "TargetModel")

    def _closed(self, model: Path, name: str) -> Path:
        """The model, unless one of its files is a link that leads out of the folder."""
        for below in (model, model / "model"):
            for part in (CARD, HEAD, BACKBONE, CODE, entry_script()):
                if not (below / part).resolve().is_relative_to(self.root):
                    raise RequestError(
                        "target-name", f"{part} of {name[:200]!r} leads out of the models' folder.", where="TargetModel"
                    )
        return model

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
                allowed="a path in the models' folder",
            )
        return self._closed(resolved, name)

    def url(self, name: str) -> str:
        """The path."""
        return str(self.root / name)


class S3Shelf(Shelf):
    """Archives under an s3:// prefix, fetched when asked for and kept in the cache while their ETag stays.

    Credentials and the endpoint come from the usual variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, ...).
    """

    def __init__(self, address: str, cache: Path) -> None:
        if not address.removeprefix("s3://").strip("/"):
            raise UsageError(f"{address!r} names no bucket.", allowed="s3://bucket/prefix")
        self.address = address.rstrip("/")
        self._cache = cache

    def locate(self, name: str) -> Path:
        """The archive, fetched."""
        try:
            return fetch_archive(self.url(name), self._cache)
        except RequestError as error:
            if error.kind == "target-unknown":
                raise unknown(name, "TargetModel") from error  # without the bucket's address
            raise

    def artifact(self, name: str) -> str:
        """The key below the prefix, which is the only name that an object has."""
        return safe_parts(name).as_posix()

    def url(self, name: str) -> str:
        """Its s3:// address."""
        return f"{self.address}/{safe_parts(name).as_posix()}"

    def done(self, path: Path) -> None:
        """The archive may leave the cache: the model is in memory."""
        release(path.parent)


def fetch_archive(address: str, cache: Path) -> Path:
    """A model archive from S3, in the cache.

    Raises
    ------
    RequestError
        ``target-unknown`` when there is no such object.
    ModelError
        When the store cannot be reached or refuses.
    """
    from vizsla.data import s3

    try:
        with speaking(door().but(endpoint_url="AWS_ENDPOINT_URL_S3")):  # no option of a server
            return s3.fetch(address, cache, on_progress=lambda done, total: None)
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise RequestError(
                "target-unknown",
                f"There is no model {address[:200]!r}.",
                do="check the address (upper and lower case count)",
            ) from error
        raise ModelError(f"The model cannot be fetched: {error.what}", where=error.where, do=error.do) from error


def container() -> Path:
    """Where a container has its ``model``, or ``models``: ``/opt/ml``, unless SAGEMAKER_BASE_DIR names another folder
    (the toolkits' environment.py)."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR") or _OPT_ML)


def models_by_name(texts: Sequence[str], fetch: Callable[[str], Path]) -> dict[str, Path]:
    """Models given on the command line, by a name for each: that of the folder which says most.

    ``runs/dogs-1/model`` and ``dogs-1/model.tar.gz`` are both ``dogs-1``, and the model of a container is ``model``.
    ``fetch`` gets what is on S3.

    Raises
    ------
    UsageError
        When two models would have one name.
    """
    models: dict[str, Path] = {}
    containers = _OPT_ML, container().resolve()
    for text in texts:
        remote = text.startswith("s3://")
        plain = Path(text.removeprefix("s3:/")) if remote else Path(text).resolve()
        stem = plain.name.removesuffix(".gz").removesuffix(".tar")
        while stem in ("model", "output") and plain.parent != plain:
            plain = plain.parent
            stem = "" if plain in containers and not remote else plain.name
        name = stem or "model"
        if name in models:
            raise UsageError(
                f"Two models have the name {name!r}.", where=text, do=f"serve them with {spelled('models_dir')}"
            )
        models[name] = fetch(text) if remote else Path(text)
    return models
