"""The saved model on disk: a directory, or the same packed as ``model.tar.gz``. Never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vizsla.archives import opened
from vizsla.archives import pack as pack_folder
from vizsla.errors import ModelError, SourceError
from vizsla.files import sha256_file, storage, write_bytes
from vizsla.images import Preprocessing
from vizsla.models.heads import HEADS, Head

FORMAT_VERSION: Literal[2] = 2
"""Version 2 names the kind of the head; version 1, which knew the linear one only, is read as well."""
CARD, BACKBONE, HEAD = "model.json", "backbone.onnx", "head.safetensors"
ARCHIVE = "model.tar.gz"

_OWN_CODE = (
    "for what a script of your own has saved, put inference.py with a model_fn into code/ beside it (in a job: beside "
    "the script) and use `vizsla serve --allow-code`; SAGEMAKER_PROGRAM names another script than inference.py"
)
_MAX_CARD_BYTES = 16_000_000
_MAX_PART_BYTES = 4_000_000_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PreprocessingCard(_Section):
    """:class:`vizsla.images.Preprocessing`, as JSON."""

    size: int = Field(gt=0, le=4096)
    resize: int = Field(gt=0, le=8192)
    crop: Literal["center", "squash"]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class BackboneCard(_Section):
    """Which backbone, with which weights, run by which engine."""

    name: str
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    features: int = Field(gt=0)
    engine: str
    precision: str


class Provenance(_Section):
    """Where the model comes from."""

    job: str
    created: str
    dataset: str
    dataset_sha256: str
    seed: int
    versions: dict[str, str]
    hyperparameters: dict[str, Any] = {}


class ModelCard(_Section):
    """``model.json``: everything about a model but its numbers."""

    format_version: Literal[1, 2] = FORMAT_VERSION
    classes: list[str] = Field(min_length=2)
    preprocessing: PreprocessingCard
    backbone: BackboneCard
    head: str = "linear"
    head_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    metrics: dict[str, Any] = {}
    provenance: Provenance


@dataclass(frozen=True)
class SavedModel:
    """A model as read from disk, its hashes verified. ``backbone`` is the ONNX file or its bytes."""

    card: ModelCard
    backbone: Path | bytes
    head: Head

    @property
    def preprocessing(self) -> Preprocessing:
        """What turns a picture's bytes into the backbone's input."""
        return Preprocessing.from_dict(self.card.preprocessing.model_dump())


def head_bytes(head: Head) -> bytes:
    """The content of ``head.safetensors``."""
    content: bytes = safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in head.tensors().items()})
    return content


def save(
    folder: Path, card: ModelCard, backbone: Path, head: Head, *, prove: Callable[[Path], None] = lambda written: None
) -> None:
    """Write a model directory in one step: it is there whole, or not at all.

    The backbone is linked, not copied, where the file system allows: models share it. ``prove`` gets the folder
    before it takes its place; what it raises leaves no model behind.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    with storage(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
        temporary.mkdir()
    try:
        with storage(folder):
            try:
                os.link(backbone, temporary / BACKBONE)
            except OSError:
                shutil.copyfile(backbone, temporary / BACKBONE)
        write_bytes(temporary / HEAD, head_bytes(head))
        write_bytes(temporary / CARD, (card.model_dump_json(indent=2) + "\n").encode())
        prove(temporary)
        with storage(folder):
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def save_tempered(saved: SavedModel, temperature: float, folder: Path) -> None:
    """Write a copy of a model whose logits are divided by ``temperature``. What its card says of loss and calibration
    is no longer true and left out.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    head = saved.head.tempered(temperature)
    metrics = {name: value for name, value in saved.card.metrics.items() if not name.startswith(("loss", "ece"))}
    card = saved.card.model_copy(
        update={
            "head_sha256": hashlib.sha256(head_bytes(head)).hexdigest(),
            "metrics": metrics | {"temperature": temperature},
        }
    )
    if isinstance(saved.backbone, Path):
        save(folder, card, saved.backbone, head)
        return
    with tempfile.TemporaryDirectory() as place:
        backbone = Path(place) / BACKBONE
        backbone.write_bytes(saved.backbone)
        save(folder, card, backbone, head)


def pack(folder: Path, archive: Path) -> None:
    """Pack a model directory into ``model.tar.gz``.

    The same content gives the same bytes. What is small comes first, so that a server that has the backbone
    already need not unpack it again.
    """
    with storage(archive):
        pack_folder(folder, archive, last=BACKBONE, reproducible=True)


class ModelTooLargeError(ModelError):
    """A file of a model is larger than the reader has room for."""


def load(path: str | os.PathLike[str], *, at_hand: Container[str] = (), most: int = _MAX_PART_BYTES) -> SavedModel:
    """Read a model directory or a ``model.tar.gz``, and verify its hashes.

    A backbone whose SHA-256 is in ``at_hand`` is one that the caller has: it is not read, and ``backbone`` is empty
    bytes. ``most`` bounds each file of it, in bytes, before it is read: an archive of few bytes can unpack to many.

    Raises
    ------
    ModelTooLargeError
        When one of its files is larger than ``most``.
    ModelError
        When it is missing, of another format version, incomplete or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _load_folder(path, at_hand, most)
    if path.is_file():
        return _load_archive(path, at_hand, most)
    raise ModelError(
        "There is no model here.",
        where=path,
        allowed=f"a model directory (with {CARD}), a job directory, or a {ARCHIVE}",
        do="`vizsla fit DATA` makes one and prints its path",
    )


def _load_folder(folder: Path, at_hand: Container[str], most: int) -> SavedModel:
    if not (folder / CARD).is_file() and (folder / "model" / CARD).is_file():
        folder = folder / "model"  # a job directory was given
    if not (folder / CARD).is_file():
        do = f"give the `model` folder of a finished `vizsla fit`; {_OWN_CODE}"
        if any(folder.glob("*/job.json")):
            do = f"name one of the jobs in it; all are served by `vizsla serve --models-dir {folder}`"
        raise ModelError(f"This folder holds no saved model: {CARD} is missing.", where=folder, do=do)
    card = _card((folder / CARD).read_bytes(), folder)
    try:
        _check_size(HEAD, (folder / HEAD).stat().st_size, most, folder)
        head = (folder / HEAD).read_bytes()
        is_at_hand = card.backbone.sha256 in at_hand
        if not is_at_hand:
            _check_size(BACKBONE, (folder / BACKBONE).stat().st_size, most, folder)
        backbone_sha256 = card.backbone.sha256 if is_at_hand else sha256_file(folder / BACKBONE)
    except OSError as error:
        raise ModelError(f"The model is incomplete: {error.strerror}.", where=error.filename) from error
    _verify(card, backbone_sha256, head, folder)
    return SavedModel(card, b"" if is_at_hand else folder / BACKBONE, _head(head, card, folder))


def _load_archive(archive: Path, at_hand: Container[str], most: int) -> SavedModel:
    parts: dict[str, bytes] = {}
    try:
        with opened(archive) as (members, _):
            for member in members:
                name = member.name.removeprefix("./")
                if name not in (CARD, BACKBONE, HEAD) or member.open is None:
                    continue
                _check_size(name, member.size, _MAX_CARD_BYTES if name == CARD else most, archive)
                file = member.open()
                parts[name] = file.read() if file else b""
                if CARD in parts and HEAD in parts and _card(parts[CARD], archive).backbone.sha256 in at_hand:
                    parts.setdefault(BACKBONE, b"")
                    break
    except SourceError as error:
        do = f"give a {ARCHIVE} as `vizsla fit` writes it, or the model's folder"
        raise ModelError(error.what, where=archive, do=do) from error
    missing = [name for name in (CARD, BACKBONE, HEAD) if name not in parts]
    if missing:
        raise ModelError(
            f"The archive holds no saved model: {', '.join(missing)} is missing.",
            where=archive,
            do=_OWN_CODE if CARD in missing else None,
        )
    card = _card(parts[CARD], archive)
    is_at_hand = card.backbone.sha256 in at_hand
    backbone_sha256 = card.backbone.sha256 if is_at_hand else hashlib.sha256(parts[BACKBONE]).hexdigest()
    _verify(card, backbone_sha256, parts[HEAD], archive)
    return SavedModel(card, parts[BACKBONE], _head(parts[HEAD], card, archive))


def _check_size(name: str, size: int, most: int, where: Path) -> None:
    most = min(most, _MAX_PART_BYTES)
    if size > most:
        raise ModelTooLargeError(
            f"{name} of the model is too large: {size:,} bytes.", where=where, allowed=f"at most {most:,} bytes"
        )


def _card(data: bytes, where: Path) -> ModelCard:
    version: object = None
    with contextlib.suppress(ValueError, AttributeError):
        version = json.load(io.BytesIO(data)).get("format_version")
    if version is not None and version not in (1, FORMAT_VERSION):
        raise ModelError(
            f"The model is of format version {version}; this Vizsla reads versions 1 to {FORMAT_VERSION}.",
            where=where,
            do="upgrade vizsla, or train the model again",
        )
    try:
        return ModelCard.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{CARD} cannot be read: {place}: {first['msg']}.", where=where) from error


def _verify(card: ModelCard, backbone_sha256: str, head: bytes, where: Path) -> None:
    for name, actual, expected in (
        (BACKBONE, backbone_sha256, card.backbone.sha256),
        (HEAD, hashlib.sha256(head).hexdigest(), card.head_sha256),
    ):
        if actual != expected:
            raise ModelError(
                f"{name} is not the file that the model was saved with (its hash differs).",
                where=where,
                do="fetch an undamaged copy, or train the model again",
            )


def _head(data: bytes, card: ModelCard, where: Path) -> Head:
    if card.head not in HEADS:
        raise ModelError(
            f"The model's head is of kind {card.head!r}.",
            where=where,
            allowed=", ".join(HEADS),
            do="upgrade vizsla, or train the model again",
        )
    try:
        tensors = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{HEAD} cannot be read: {error}.", where=where) from error
    try:
        return HEADS[card.head].read(tensors, len(card.classes), card.backbone.features)
    except ModelError as error:
        error.where = str(where)
        raise
