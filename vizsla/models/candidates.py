"""Which backbones a request names: one, several to choose among, or all whose weights are at hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vizsla.errors import UsageError, WeightsError
from vizsla.models.weights import BackboneSpec, ways_out
from vizsla.parameters import spelled

AUTO = "auto"


def backbone_specs(
    backbone: str | None, weights: Path | None = None, *, random_init: bool = False, seed: int = 0
) -> tuple[BackboneSpec, ...]:
    """The backbones that ``backbone`` names, checked, each once: ``NAME``, ``NAME,NAME`` or ``auto``, which is all
    whose weights are at hand.

    ``weights`` may be a folder of several folders in the hub's layout: then each name finds its own there.

    Raises
    ------
    UsageError
        When the list is empty, or names more backbones than there can be weights for.
    WeightsError
        When the weights of one of them are not among ``weights``, or none are at hand.

    Examples
    --------
    >>> [spec.backbone for spec in backbone_specs("resnet18,resnet50")]
    ['resnet18', 'resnet50']
    """
    names = list(dict.fromkeys(name.strip() for name in (backbone or "").split(",")))
    if backbone is not None and not all(names):
        raise UsageError(
            f"The list of backbones {backbone!r} has an empty place.",
            parameter="backbone",
            allowed=f"a name, names with commas between them, or {AUTO}",
        )
    shelf = {} if weights is None or random_init else shelf_of(weights)
    if names == [AUTO]:
        return _all_at_hand(weights, shelf, random_init)
    if AUTO in names:
        raise UsageError(
            f"{AUTO} stands for all backbones at hand; it cannot be one of a list.", parameter="backbone",
            do=f"leave {AUTO} or the names out",
        )  # fmt: skip
    if len(names) > 1 and weights is not None and not shelf and not random_init:
        raise UsageError(
            f"{len(names)} backbones are named, and one set of weights is given.",
            where=weights,
            parameter="weights",
            allowed="a folder that holds a folder for each of them, in the hub's layout",
        )
    if not shelf:
        return tuple(BackboneSpec.resolve(n or None, weights, random_init=random_init, seed=seed) for n in names)
    if not backbone:
        if len(shelf) > 1:
            raise UsageError(
                f"This folder holds the weights of {len(shelf)} backbones.",
                where=weights,
                parameter="backbone",
                allowed=f"{', '.join(shelf)}; several with commas; or {AUTO}, which chooses",
            )
        names = list(shelf)
    return tuple(_on_shelf(name, shelf, weights) for name in names)


def shelf_of(folder: Path) -> dict[str, BackboneSpec]:
    """The folders of weights within a folder, by their names; none where it is itself one, or a file."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir() or (folder / "config.json").exists():
        return {}
    inner = sorted(config.parent for config in folder.glob("*/config.json"))
    return {path.name: BackboneSpec.resolve(None, path) for path in inner}


def in_hub_cache(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The timm models whose weights the hub's cache holds, by their whole names: ``resnet18.a1_in1k``."""
    home = Path(environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    hub = Path(environment.get("HF_HUB_CACHE") or home / "hub").expanduser()
    found = []
    for model in sorted(hub.glob("models--timm--*")):
        files = [name for name in ("model.safetensors", "pytorch_model.bin") if any(model.glob(f"snapshots/*/{name}"))]
        if files:
            found.append(model.name.removeprefix("models--timm--"))
    return found


def _all_at_hand(
    weights: Path | None, shelf: Mapping[str, BackboneSpec], random_init: bool
) -> tuple[BackboneSpec, ...]:
    if random_init:
        raise UsageError(
            f"{spelled('backbone', AUTO)} chooses among trained backbones.",
            parameter="backbone",
            do=f"name one, or leave {spelled('random_init', True)} out",
        )
    if shelf:
        return tuple(shelf.values())
    if weights is not None:
        return (BackboneSpec.resolve(None, weights),)
    if names := in_hub_cache():
        return tuple(BackboneSpec.resolve(name) for name in names)
    raise WeightsError("No weights of any backbone are at hand.", parameter="backbone", do=ways_out())


def _on_shelf(name: str, shelf: Mapping[str, BackboneSpec], weights: Path | None) -> BackboneSpec:
    if name in shelf:
        return shelf[name]
    matches = [spec for spec in shelf.values() if spec.backbone == name.split(".")[0]]
    if not matches or (len(matches) > 1 or "." in name):
        raise WeightsError(
            f"The weights of {name} are not at hand.",
            where=weights,
            parameter="backbone",
            allowed=", ".join(shelf),
            do="put them there, in a folder of their own in the hub's layout (config.json + model.safetensors)",
        )
    return matches[0]
