"""Which depths train, and for how many epochs: what was asked for, or what the time allows. Imports torch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vizsla.errors import ModelError
from vizsla.files import write_json
from vizsla.models.backbone import TorchBackbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import trunk_to_onnx
from vizsla.models.heads.linear import LinearHead
from vizsla.models.trunk import Features, choose_cut, divide
from vizsla.training.fine_tuning.config import Depth, FineTuneConfig
from vizsla.training.fine_tuning.cost import Cost, cost
from vizsla.training.fine_tuning.loop import Network
from vizsla.training.fine_tuning.stage import Workshop

FILE = "fine-tuning.json"
_TIMED_PICTURES = 8
_LEAST_SECONDS = 20.0
"""Measuring what training costs takes some of them."""
_MARGIN = 0.92
"""Of the time that is left, what is planned with: epochs differ."""
_MOST_LAST, _MOST_FULL = 16, 30
"""Epochs beyond which the gain is too small to be told."""
_LEAST_LAST, _LEAST_FULL = 4, 5
"""Where time is too short for so many epochs of the last blocks and then of all, all of it goes to the last ones."""
_SHARE_LAST = 0.35
"""Of the time, where all blocks train after the last ones."""


@dataclass(frozen=True)
class Costs:
    """Seconds: ``last`` and ``full`` of a picture in training, ``trunk`` of one view of a picture, on all cores."""

    last: Cost
    full: Cost
    trunk: float


def stages(
    folder: Path,
    workshop: Workshop,
    config: FineTuneConfig,
    head: LinearHead,
    seconds: float | None,
    note: Callable[[str], None],
) -> list[FineTuneConfig]:
    """The stages, each with its cut, learning rate and epochs; what was decided before a kill stays.

    Parameters
    ----------
    seconds:
        What is left for training; None: as long as it takes.

    Raises
    ------
    UsageError
        When the cut that is asked for does not exist.
    ModelError
        When the backbone cannot be cut.
    """
    path = folder / FILE
    asked = asdict(config)
    try:
        stored = json.loads(path.read_text("utf-8"))
        if stored["asked"] == asked:
            return [FineTuneConfig(**values) for values in stored["stages"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if seconds is not None and seconds < _LEAST_SECONDS:
        note("There is no time left to train the backbone; it stays frozen.")
        return []
    planned = asked_for(workshop.backbone, config)
    if seconds is not None:
        costs = measure(workshop.backbone, planned, head, workshop.threads, workshop.device)
        timed = within(planned, costs, len(workshop.data.train), len(workshop.data.valid), seconds)
        words = "; ".join(f"{_words(stage)}, about {_minutes(took)}" for stage, took in timed)
        note(f"For the {_minutes(seconds)} that are left: {words or 'none of training the backbone; it stays frozen'}.")
        planned = [stage for stage, _ in timed]
    write_json(path, {"asked": asked, "stages": [asdict(stage) for stage in planned]})
    return planned


def asked_for(backbone: TorchBackbone, config: FineTuneConfig) -> list[FineTuneConfig]:
    """The stages without regard to time: one, or with depth auto the last blocks, where they can be cut off, and then
    all."""
    depths: tuple[Depth, ...] = ("last", "full") if config.depth == "auto" else (config.depth,)
    cut = None
    if "last" in depths:
        try:
            cut = choose_cut(divide(backbone).cuts, config.cut)
        except ModelError:
            if config.depth == "last":
                raise
            depths = ("full",)
    return [
        replace(config, depth=depth, cut=cut.place if cut and depth == "last" else None).resolved() for depth in depths
    ]


def within(
    planned: list[FineTuneConfig], costs: Costs, train: int, valid: int, seconds: float
) -> list[tuple[FineTuneConfig, float]]:
    """As many stages and epochs as the time allows, with their seconds: the last blocks first, then all, where that
    brings more. ``train`` and ``valid`` are numbers of pictures."""
    left = _MARGIN * seconds
    full = costs.full.epoch(train, valid)
    chosen: list[tuple[FineTuneConfig, float]] = []
    for at, stage in enumerate(planned):
        if stage.depth == "last":
            before = (stage.views * train + valid) * costs.trunk
            epoch = costs.last.epoch(train, valid)
            enough = _SHARE_LAST * left > before + _LEAST_LAST * epoch
            both = enough and (1 - _SHARE_LAST) * left > _LEAST_FULL * full
            share = _SHARE_LAST if both and len(planned) > 1 else 1.0
            most = _MOST_LAST if len(planned) > 1 else stage.epochs or 1
        else:
            before, epoch, share = 0.0, full, 1.0
            most = _MOST_FULL if len(planned) > 1 else stage.epochs or 1
            if at and int(left / epoch) < _LEAST_FULL:
                continue
        epochs = min(most, int((share * left - before) / epoch))
        if epochs >= 1:
            chosen.append((replace(stage, epochs=epochs), before + epochs * epoch))
            left -= chosen[-1][1]
    return chosen


def measure(
    backbone: TorchBackbone, planned: list[FineTuneConfig], head: LinearHead, threads: int, device: torch.device
) -> Costs:
    """Time a few pictures at each depth that is planned; what is not planned costs nothing."""
    nothing = Cost(0.0, 0.0)
    found = {"last": nothing, "full": nothing}
    trunk_seconds, size = 0.0, backbone.preprocessing.size
    for stage in planned:
        if stage.depth == "last":
            divided = divide(backbone)
            trunk, body = divided.split(stage.cut or "")
            shape = next(cut.shape for cut in divided.cuts if cut.place == stage.cut)
            engine = OnnxEngine(trunk_to_onnx(trunk, backbone.preprocessing))
            picture = np.zeros((1, size, size, 3), np.uint8)
            engine.activations(picture)
            began = time.perf_counter()
            for _ in range(_TIMED_PICTURES):
                engine.activations(picture)
            trunk_seconds = (time.perf_counter() - began) / _TIMED_PICTURES / threads
        else:
            body, shape = Features(backbone.module), (3, size, size)
        example = torch.zeros(_TIMED_PICTURES, *shape, device=device)
        if example.ndim == 4:
            example = example.contiguous(memory_format=torch.channels_last)
        found[stage.depth] = cost(Network.of(body, head, device), example)
    return Costs(found["last"], found["full"], trunk_seconds)


def _words(stage: FineTuneConfig) -> str:
    epochs = f"{stage.epochs} epoch{'s' * (stage.epochs != 1)}"
    return f"{epochs} of the blocks from {stage.cut} on" if stage.depth == "last" else f"{epochs} of all blocks"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
