"""timm backbones with their weights, as torch modules. One of the two files that import torch."""

from __future__ import annotations

import contextlib
import difflib
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vizsla.errors import UsageError, WeightsError
from vizsla.images import Preprocessing
from vizsla.models.weights import BackboneSpec, ways_out
from vizsla.optional import require
from vizsla.parameters import spelled

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TorchBackbone:
    """A timm model in evaluation mode, without a classifier, and how it wants its pictures."""

    module: nn.Module
    preprocessing: Preprocessing
    features: int
    """Length of the feature vector."""


def load_backbone(spec: BackboneSpec) -> TorchBackbone:
    """Build the backbone and fill it with the weights asked for; never silently with random ones.

    Raises
    ------
    WeightsError
        When timm has no such model, or the weights cannot be had or do not fit.
    UsageError
        When the network cannot take pictures of the size that is asked for.
    MissingExtraError
        When torch or timm is not installed.
    """
    require("torch", extra="train", feature="Exporting a backbone")
    timm = require("timm", extra="train", feature="Exporting a backbone")
    require("timm.data", extra="train", feature="Exporting a backbone")
    if not timm.is_model(spec.backbone.split(".")[0]):
        near = difflib.get_close_matches(spec.backbone, timm.list_models(), n=5, cutoff=0.5)
        raise WeightsError(
            f"timm has no image model named {spec.backbone!r}.",
            allowed=f"any of timm's {len(timm.list_models()):,} models"
            + (f"; near: {', '.join(near)}" if near else ""),
            do='`python -c "import timm; print(timm.list_models(pretrained=True))"` lists them',
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = _create(timm, spec)
    return TorchBackbone(
        module=module.eval().requires_grad_(False),
        preprocessing=Preprocessing.from_timm(timm.data.resolve_model_data_config(module) | spec.input_size()),
        features=int(module.head_hidden_size if hasattr(module, "head_hidden_size") else module.num_features),
    )


def _size_options(timm: Any, spec: BackboneSpec) -> dict[str, int]:
    """What a network is built with for the size that is asked for: a transformer has one size, to which the positions
    that its weights know are interpolated; others take any."""
    if spec.size is None:
        return {}
    import torch

    fixed = timm.get_pretrained_cfg_value(spec.backbone, "fixed_input_size")
    options = {"img_size": spec.size} if fixed else {}
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            module = timm.create_model(spec.backbone, pretrained=False, **options).eval()
            module.forward_features(torch.zeros(1, 3, spec.size, spec.size))
    except Exception as error:  # networks have no common way to refuse a size
        raise UsageError(
            f"{spec.backbone} cannot take pictures of {spec.size} x {spec.size} pixels: {_first_line(error)}.",
            parameter="size",
            do=f"leave {spelled('size')} out for the size of its weights, or name another",
        ) from error
    return options


def _create(timm: Any, spec: BackboneSpec) -> Any:
    import torch

    options = _size_options(timm, spec)
    if spec.random_init:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            return timm.create_model(spec.backbone, pretrained=False, **options)
    if spec.weights is None:
        try:
            with _hub_offline_when_unreachable():
                return timm.create_model(spec.backbone, pretrained=True, **options)
        except Exception as error:
            # Downloads fail in the exceptions of several libraries that share no base class.
            raise WeightsError(
                f"The pretrained weights of {spec.backbone} cannot be had: {_first_line(error)}.", do=ways_out()
            ) from error
    try:
        if spec.weights.is_dir():
            return timm.create_model(f"local-dir:{spec.weights}", pretrained=True, **options)
        module = timm.create_model(spec.backbone, pretrained=False, **options)
        _fill(module, _state_dict(spec.weights), spec)
        return module
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"The weights cannot be loaded into {spec.backbone}: {_first_line(error)}.",
            where=spec.weights,
            do=ways_out(),
        ) from error


@contextlib.contextmanager
def _hub_offline_when_unreachable() -> Iterator[None]:
    """Without a network, ask the hub's cache only: the hub's own retries take 46 seconds to say no."""
    constants: Any = require("huggingface_hub.constants", extra="train", feature="Fetching weights")
    before: bool = constants.HF_HUB_OFFLINE
    if not before and not urllib.request.getproxies():
        try:
            socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _state_dict(path: Path) -> dict[str, Any]:
    """Tensors by name; a ``.pth`` is read as weights only, so that no code in it can run."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _fill(module: Any, state: dict[str, Any], spec: BackboneSpec) -> None:
    """Load every tensor of the backbone; the classifier's may be absent or of another size."""
    own = module.state_dict()
    classifier = tuple(f"{name}." for name in _classifier_names(module))
    fitting = {n: t for n, t in state.items() if n in own and own[n].shape == t.shape}
    lacking = [n for n in own if n not in fitting and not n.startswith(classifier)]
    if lacking:
        raise WeightsError(
            f"The weights do not fit {spec.backbone}: {len(lacking)} of {len(own)} tensors are missing or of "
            f"another shape ({', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}).",
            where=spec.weights,
            do=f"name the architecture that the file was saved from with {spelled('backbone')}",
        )
    module.load_state_dict(fitting, strict=False)


def _classifier_names(module: Any) -> tuple[str, ...]:
    names = module.default_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
