"""Which backbone with which weights: the question, checked and named, before anything heavy is imported."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError, WeightsError
from vizsla.files import sha256_file, sha256_json
from vizsla.parameters import spelled

DEFAULT_BACKBONE = "resnet18"

SMALLEST, LARGEST = 16, 2048
"""Pixels of a side of a backbone's input."""

_EXPORT_VERSION = 2
"""Raised when the exported graph changes, so that older exports are made again."""


def ways_out() -> str:
    """What to do where weights cannot be had."""
    return (
        f"give the weights with {spelled('weights')}: a folder in the hub's layout (config.json + model.safetensors), "
        "or a .safetensors or .pth file; or connect to the network once (they are kept by the hub's cache); or ask for "
        f"an untrained backbone with {spelled('random_init', True)} (for trying things out only)"
    )


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone by timm's name, where its weights come from (the hub, ``weights``, or chance), and the pixels of a
    side of its input (``size`` None: as its weights were trained).

    Use :meth:`resolve`, which checks, and ``dataclasses.replace`` for another size.

    Raises
    ------
    UsageError
        When no input has that size.
    """

    backbone: str
    weights: Path | None = None
    random_init: bool = False
    seed: int = 0
    size: int | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.size, int) and not isinstance(self.size, bool)
        if self.size is not None and not (whole and SMALLEST <= self.size <= LARGEST):
            raise UsageError(
                f"size={self.size!r} cannot be used.",
                parameter="size",
                allowed=f"a whole number of pixels, {SMALLEST} to {LARGEST:,}",
            )

    @classmethod
    def resolve(
        cls, backbone: str | None, weights: Path | None = None, *, random_init: bool = False, seed: int = 0
    ) -> BackboneSpec:
        """Check a request and fill in what it leaves open.

        A folder of weights names its own architecture; else the default is resnet18.

        Raises
        ------
        UsageError
            When both weights and random weights are asked for.
        WeightsError
            When ``weights`` is no such folder or file, or is of another architecture.
        """
        if weights is not None and random_init:
            raise UsageError(
                f"{spelled('weights')} and {spelled('random_init', True)} exclude each other.",
                do="leave one of them out",
            )
        if weights is None:
            return cls(backbone or DEFAULT_BACKBONE, None, random_init, seed if random_init else 0)
        weights = weights.expanduser().resolve()
        if not weights.exists():
            raise WeightsError("The weights do not exist.", where=weights, do=ways_out())
        if weights.is_dir():
            stored = _folder_architecture(weights)
            if backbone and backbone.split(".")[0] != stored:
                raise WeightsError(
                    f"These weights are of {stored}, not of {backbone}.",
                    where=weights,
                    do=f"use {spelled('backbone', stored)}, or other weights",
                )
            return cls(stored, weights)
        if weights.suffix not in (".safetensors", ".pth", ".pt"):
            raise WeightsError(
                f"A weights file ends in .safetensors, .pth or .pt, not {weights.suffix!r}.",
                where=weights,
                do=ways_out(),
            )
        return cls(backbone or DEFAULT_BACKBONE, weights)

    @property
    def file(self) -> Path | None:
        """The file that holds the weights, where they are local."""
        if self.weights is None or self.weights.is_file():
            return self.weights
        return next(
            (self.weights / n for n in _FOLDER_FILES if (self.weights / n).is_file()), self.weights / _FOLDER_FILES[0]
        )

    def data_config(self) -> dict[str, Any] | None:
        """How a folder of weights says that pictures are to be prepared; None where that is not known without timm."""
        if self.weights is None or not self.weights.is_dir():
            return None
        try:
            config = json.loads((self.weights / "config.json").read_text("utf-8"))["pretrained_cfg"]
            names = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
            return {name: config[name] for name in names} | self.input_size()
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def input_size(self) -> dict[str, tuple[int, int, int]]:
        """What timm's data configuration says of the size that is asked for; nothing where none is."""
        return {} if self.size is None else {"input_size": (3, self.size, self.size)}

    def describe(self) -> str:
        """For a person: where the weights come from."""
        if self.random_init:
            return f"random (seed {self.seed}), untrained"
        return f"hub:{self.backbone}" if self.weights is None else self.weights.name

    def key(self) -> str:
        """A digest that changes whenever the exported backbone would: name, weights, their configuration, size,
        versions."""
        if self.random_init:
            source = f"random:{self.seed}"
        elif self.file is None or self.weights is None:
            source = "hub"
        else:
            # A folder's config.json also says how pictures are prepared; a file alone leaves that to the architecture.
            config = sha256_file(self.weights / "config.json") if self.weights.is_dir() else "none"
            source = f"{sha256_file(self.file)} config:{config}"
        versions = {name: _version(name) for name in ("torch", "timm")}
        return sha256_json([_EXPORT_VERSION, self.backbone, source, versions, *([self.size] if self.size else [])])


_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


def _folder_architecture(folder: Path) -> str:
    config = folder / "config.json"
    if not config.is_file() or not any((folder / name).is_file() for name in _FOLDER_FILES):
        raise WeightsError(
            "This folder is not in the hub's layout.",
            where=folder,
            allowed="a folder with config.json and model.safetensors",
            do=ways_out(),
        )
    try:
        architecture = json.loads(config.read_text("utf-8"))["architecture"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WeightsError("config.json names no architecture.", where=config, do="fetch an undamaged copy") from error
    return str(architecture)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
