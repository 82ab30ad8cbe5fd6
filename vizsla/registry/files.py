"""The files of a package: a folder that MLflow can load, with the saved model in ``model/``."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from vizsla.archives import Bounds, unpack
from vizsla.errors import ModelError, SourceError
from vizsla.files import sha256_file, sha256_json, storage
from vizsla.models import artifact
from vizsla.optional import require
from vizsla.registry.flavor import COLUMN
from vizsla.registry.mlflow_store import MlflowStore
from vizsla.registry.package import ModelPackage, local_folder
from vizsla.registry.place import registry_folder, registry_uri
from vizsla.settings import settings
from vizsla.version import VERSION

MODEL = "model"
_BOUNDS = Bounds(bytes=20_000_000_000, files=20_000)
_FEATURE = "Registering a model"


@contextlib.contextmanager
def one_writer() -> Iterator[None]:
    """Of several processes one writes at a time; the others wait."""
    folder = registry_folder()
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 - closed by the block that follows
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stage(model: Path, code: Path | None) -> Path:
    """A copy of a model in a folder of its own, as it will be kept: ``<folder>/model``. A backbone is linked where the
    file system allows.

    Parameters
    ----------
    model:
        A model's folder or its ``model.tar.gz``.
    code:
        The folder of its own code, where that lies beside it.

    Raises
    ------
    ModelError
        When the archive cannot be unpacked.
    """
    staging = registry_folder() / f".{uuid.uuid4().hex[:12]}.tmp"
    target = staging / MODEL
    with storage(staging):
        staging.mkdir(parents=True)
        try:
            if model.is_dir():
                shutil.copytree(model, target, copy_function=_link)
            else:
                unpack(model, target, _BOUNDS, links=True)
            if code is not None and not (target / "code").exists():
                shutil.copytree(code, target / "code")
        except SourceError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise ModelError(error.what, where=model, allowed=error.allowed, do=error.do) from error
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return staging


def _link(source: str, target: str) -> None:
    try:
        if Path(source).name != artifact.BACKBONE:
            raise OSError
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write_flavor(staging: Path, example: bytes | None) -> None:
    """Make a staged model one that ``mlflow.pyfunc.load_model`` loads: ``MLmodel`` with signature and input example.

    Raises
    ------
    MissingExtraError
        Without MLflow.
    """
    pyfunc = require("mlflow.pyfunc", extra="track", feature=_FEATURE)
    models = require("mlflow.models", extra="track", feature=_FEATURE)
    types = require("mlflow.types", extra="track", feature=_FEATURE)
    schema = require("mlflow.types.schema", extra="track", feature=_FEATURE)
    pandas = require("pandas", extra="track", feature=_FEATURE)
    signature = models.ModelSignature(
        inputs=types.Schema([types.ColSpec("binary", COLUMN)]),
        outputs=types.Schema(
            [
                types.ColSpec("string", "label"),
                types.ColSpec("double", "probability"),
                types.ColSpec(schema.Array("double"), "probabilities"),
            ]
        ),
    )
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    described = staging / "mlflow"
    pyfunc.save_model(
        str(described),
        loader_module="vizsla.registry.flavor",
        data_path=str(staging / MODEL / artifact.CARD),  # the model's files are there already
        signature=signature,
        input_example=None if example is None else pandas.DataFrame({COLUMN: [example]}),
        pip_requirements=[f"vizsla=={VERSION}"],
    )
    shutil.rmtree(described / "data", ignore_errors=True)
    for file in described.iterdir():
        os.replace(file, staging / file.name)
    described.rmdir()
    text = (staging / "MLmodel").read_text("utf-8")
    (staging / "MLmodel").write_text(text.replace(f"data: data/{artifact.CARD}", f"data: {MODEL}"), "utf-8")


def keep(staging: Path, group: str, name: str) -> Path:
    """Give a staged package its place below the folder of the jobs."""
    folder = registry_folder() / group / f"{name}-{uuid.uuid4().hex[:8]}"
    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging, folder)
    return folder


def enter(
    staging: Path,
    store: MlflowStore,
    group: str,
    name: str,
    tags: dict[str, str],
    run: str | None,
    description: str | None,
) -> int:
    """Make a staged package the next version of a group; the version's number. ``name`` is for its folder.

    Raises
    ------
    ModelError
        When the registry does not answer; nothing is kept then.
    """
    with one_writer():
        if not store.is_local:
            source, run = store.upload(staging, run)
            return store.create(group, source, tags, run, description)
        kept = keep(staging, group, name)
        try:
            return store.create(group, kept.as_uri(), tags, run, description)
        except BaseException:
            shutil.rmtree(kept, ignore_errors=True)
            raise


def model_folder(package: ModelPackage) -> Path:
    """The saved model of a package, on this machine; fetched into the cache where its registry is elsewhere.

    Raises
    ------
    ModelError
        When its files are gone.
    """
    folder = local_folder(package) or _fetched(package)
    if (folder / MODEL).is_dir():
        return folder / MODEL
    if folder.is_dir():  # registered by somebody else
        return folder
    raise ModelError(
        f"The files of {package.name} are gone.",
        where=folder,
        do=f"register it again; `vizsla models rm {package.name}` forgets this version",
    )


def digest(folder: Path) -> str:
    """Tells the files of a model from all others, by their names and contents."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sha256_json([[name, sha256_file(folder / name)] for name in names if "__pycache__" not in name])


def _fetched(package: ModelPackage) -> Path:
    """Raises :class:`ModelError` where something else came than was registered."""
    folder = settings().cache / "registry" / f"{package.group}-{package.version}-{(package.sha256 or 'unknown')[:12]}"
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        with storage(partial):
            partial.mkdir(parents=True)
            try:
                found = MlflowStore(registry_uri()).download(package, partial)
                if package.sha256 is not None and digest(found / MODEL) != package.sha256:
                    raise ModelError(
                        f"What the registry's server has of {package.name} is not what was registered and proven (its "
                        "hash differs).",
                        where=package.source,
                        do="register the model again",
                    )
                with contextlib.suppress(OSError):  # another process was quicker
                    os.replace(found, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder
