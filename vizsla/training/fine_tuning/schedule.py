"""Which depths train, and for how many epochs: what was asked for, or what the time allows. Imports torch."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vizsla.errors import ModelError, StorageError
from vizsla.files import write_json
from vizsla.models.backbone import TorchBackbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import trunk_to_onnx
from vizsla.models.heads.linear import LinearHead
from vizsla.models.trunk import Cut, Features, choose_cut, divide
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.training.fine_tuning.augmentation import Recipe
from vizsla.training.fine_tuning.config import Depth, FineTuneConfig
from vizsla.training.fine_tuning.cost import Cost, cost, picture_cost
from vizsla.training.fine_tuning.memory import kept_memory
from vizsla.training.fine_tuning.network import Network
from vizsla.training.fine_tuning.stage import Workshop, gains_from_bfloat16

FILE = "fine-tuning.json"
_TIMED_PICTURES = 8
_LEAST_SECONDS = 20.0
"""Measuring what training costs takes some of them."""
_MEASURING = 0.1
"""Of the time that is left, what measuring may take: cuts that are not measured by then are not chosen."""
_START_SECONDS = 10.0
"""Until processes that share a stage have started."""
_MARGIN = 0.95
"""Of the time that is left, what is planned with: epochs differ."""
_MOST_LAST, _MOST_FULL = 16, 30
"""Epochs beyond which the gain is too small to be told."""
_LEAST_FULL = 5
"""Where time is too short for so many epochs of all blocks after the last ones, all of it goes to the last ones."""
_FEWER_VIEWS, _LEAST_LAST = (2, 1), 2
"""Where time is too short for so many epochs of the last blocks, they see fewer views of each picture."""
_ENOUGH_LAST = 8
"""Epochs that the last blocks want; where there is time for so many of more blocks, those train."""
_MOST_SHARE = 0.8
"""Of the operations, behind a cut that is chosen: with more, nothing is saved."""
_SHARE_LAST = 0.35
"""Of the time, where all blocks train after the last ones."""


@dataclass(frozen=True)
class LastCost:
    """What training behind a cut costs: of a picture in training, and ``trunk`` seconds of one view of a picture."""

    training: Cost
    trunk: float


@dataclass(frozen=True)
class Costs:
    """What training costs on all cores: ``last`` by the cut, the one with the least behind it first; ``full`` of all
    blocks, with the drawing of crops; ``decode`` and ``draw`` seconds of a picture and of one crop of it."""

    last: dict[str, LastCost]
    full: Cost
    decode: float = 0.0
    draw: float = 0.0

    def activations(self, place: str, views: int, train: int, valid: int) -> float:
        """Seconds until the activations before a cut lie there, of so many pictures."""
        decoded = (2 if views > 1 else 1) * train + valid
        crops = (views - 1) * train
        return decoded * self.decode + crops * self.draw + (views * train + valid) * self.last[place].trunk


def stages(
    folder: Path,
    workshop: Workshop,
    config: FineTuneConfig,
    head: LinearHead,
    seconds: float | None,
    note: Callable[[str], None],
) -> list[tuple[FineTuneConfig, float | None]]:
    """The stages, each with its cut, learning rate and epochs, and the part that it may take of the time left then;
    what was decided before a kill stays.

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
            earlier = [FineTuneConfig(**values) for values in stored["stages"]]
            return list(zip(earlier, stored["parts"], strict=True))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if seconds is not None and seconds < _LEAST_SECONDS:
        note("There is no time left to train the backbone; it stays frozen.")
        return []
    train, valid = len(workshop.data.train), len(workshop.data.valid)
    cuts = cuts_for(workshop.backbone, config, config.views * train + valid, room(workshop.cache), note)
    planned = asked_for(config, cuts, workshop.backbone, workshop.device)
    parts: list[float | None] = [None for _ in planned]
    if seconds is not None:
        examples = workshop.examples
        if (config.processes or 1) > 1:
            seconds -= _START_SECONDS * len(planned)
        began = time.monotonic()
        costs = measure(
            workshop.backbone,
            examples,
            planned,
            cuts,
            head,
            workshop.threads,
            workshop.device,
            seconds=_MEASURING * seconds,
        )
        seconds -= time.monotonic() - began
        timed = within(planned, costs, train, valid, seconds, auto=config.is_open)
        words = "; ".join(f"{_words(stage)}, about {_minutes(took)}" for stage, took in timed)
        words = words or "too few for an epoch of training the backbone; it stays frozen"
        note(f"For the {_minutes(max(0.0, seconds))} that are left: {words}.")
        planned = [stage for stage, _ in timed]
        parts = [took / sum(later for _, later in timed[at:]) for at, (_, took) in enumerate(timed)]
    write_json(path, {"asked": asked, "stages": [asdict(stage) for stage in planned], "parts": parts})
    return list(zip(planned, parts, strict=True))


def room(cache: Path) -> int:
    """Bytes that activations may take: half of what the cache may hold, and half of what the disk has free."""
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    return min(settings().cache_bytes, shutil.disk_usage(existing).free) // 2


def cuts_for(
    backbone: TorchBackbone,
    config: FineTuneConfig,
    views: int,
    room: int,
    note: Callable[[str], None] = lambda text: None,
) -> list[Cut]:
    """The cuts that the last blocks may train behind, the one with the least behind it first: the one that is asked
    for; or about a third of the operations and more, as far as the disk holds the activations of so many ``views`` of
    pictures. None where all blocks train, or where the backbone cannot be cut and the depth is open.

    Raises
    ------
    UsageError
        When the cut that is asked for does not exist.
    ModelError
        When the backbone cannot be cut.
    StorageError
        When the activations of no cut find room.
    """
    if config.depth == "full":
        return []
    try:
        every = divide(backbone).cuts
        usual = choose_cut(every, config.cut)
    except ModelError:
        if config.depth == "last":
            raise
        return []
    fitting = [cut for cut in every if cut.bytes * views <= room]
    if config.cut is not None:
        fitting = [cut for cut in fitting if cut == usual]
    if not fitting and config.depth == "auto" and config.cut is None:
        note("The disk has no room for activations: the last blocks do not train alone.")
        return []
    if not fitting:
        raise StorageError(
            f"There is no room for the activations before {usual.place}: {usual.bytes * views / 1e9:.1f} GB, and they "
            f"may take {room / 1e9:.1f} GB.",
            where=settings().cache,
            do="free some of the disk, raise VIZSLA_CACHE_GB, "
            f"lower {spelled('views')} or train the head alone: {spelled('depth', 'head')}",
        )
    if usual in fitting:
        more = [cut for cut in fitting if usual.share <= cut.share <= _MOST_SHARE]
        return sorted(more or [usual], key=lambda cut: cut.share)
    later = [cut for cut in fitting if cut.share <= usual.share]
    instead = max(later, key=lambda cut: cut.share) if later else min(fitting, key=lambda cut: cut.share)
    note(
        f"The disk has no room for the activations before {usual.place} ({usual.bytes * views / 1e9:.1f} GB): the "
        f"blocks from {instead.place} on train."
    )
    return [instead]


def asked_for(
    config: FineTuneConfig, cuts: Sequence[Cut], backbone: TorchBackbone, device: torch.device
) -> list[FineTuneConfig]:
    """The stages without regard to time: one, or with depth auto the last blocks, where there is a cut, and then
    all; in the precision that suits backbone and device."""
    depths: tuple[Depth, ...] = ("last", "full") if config.depth == "auto" else (config.depth,)
    stages = []
    for depth in depths:
        cut = cuts[0] if depth == "last" and cuts else None
        if depth == "last" and cut is None:
            continue
        stage = config.at(depth, None if cut is None else cut.place).resolved()
        if stage.precision == "auto":
            gains = gains_from_bfloat16(device, backbone.module)
            stage = replace(stage, precision="bfloat16" if gains else "float32")
        stages.append(stage)
    return stages


def within(
    planned: Sequence[FineTuneConfig], costs: Costs, train: int, valid: int, seconds: float, *, auto: bool
) -> list[tuple[FineTuneConfig, float]]:
    """As many stages and epochs as the time allows, with their seconds: the last blocks first, more of them where that
    leaves enough epochs; then all, where that does. ``train`` and ``valid`` are numbers of pictures. ``auto``: the
    epochs follow from the time, not from the stages."""
    left = _MARGIN * seconds
    full = costs.full.epoch(train, valid)
    chosen: list[tuple[FineTuneConfig, float]] = []
    for at, stage in enumerate(planned):
        if stage.depth == "last":
            both = auto and (1 - _SHARE_LAST) * left > _LEAST_FULL * full
            best = _last_within(stage, costs, train, valid, _SHARE_LAST * left if both else left, auto)
        else:
            decoded = (train + valid) * costs.decode
            epochs, took = _epochs(decoded, full, left, _MOST_FULL if auto else stage.epochs or 1)
            best = (stage, epochs, took) if not at or epochs >= _LEAST_FULL else (stage, 0, 0.0)
        stage, epochs, took = best
        if epochs:
            chosen.append((replace(stage, epochs=epochs), took))
            left -= took
    return chosen


def _last_within(
    stage: FineTuneConfig, costs: Costs, train: int, valid: int, seconds: float, auto: bool
) -> tuple[FineTuneConfig, int, float]:
    """The stage with the cut and the views that suit the time, its epochs and seconds."""
    most = _MOST_LAST if auto else stage.epochs or 1
    fewer = [views for views in _FEWER_VIEWS if views < stage.views] if auto else []
    best = stage, 0, 0.0
    for views in (stage.views, *fewer):
        options = [
            (
                replace(stage, cut=place, views=views),
                *_epochs(
                    costs.activations(place, views, train, valid), cost.training.epoch(train, valid), seconds, most
                ),
            )
            for place, cost in costs.last.items()
        ]
        best = next((option for option in reversed(options) if option[1] >= min(most, _ENOUGH_LAST)), options[0])
        if best[1] >= min(most, _LEAST_LAST):
            break
    return best


def _epochs(before: float, epoch: float, seconds: float, most: int) -> tuple[int, float]:
    """How many epochs the seconds allow, and what they take with what comes before."""
    epochs = max(0, min(most, int((seconds - before) / epoch)))
    return epochs, before + epochs * epoch


@kept_memory()
def measure(
    backbone: TorchBackbone,
    examples: Sequence[Path],
    planned: Sequence[FineTuneConfig],
    cuts: Sequence[Cut],
    head: LinearHead,
    threads: int,
    device: torch.device,
    *,
    seconds: float = math.inf,
) -> Costs:
    """Time a few pictures at each depth that is planned, and at each cut; what is not planned costs nothing.

    Parameters
    ----------
    examples:
        Pictures that can be read: some of them are decoded.
    seconds:
        After which no cut but the first one is begun with.
    """
    end = time.monotonic() + seconds
    last: dict[str, LastCost] = {}
    full = Cost(0.0, 0.0)
    recipe = Recipe(planned[0].augmentation, planned[0].flip, backbone.preprocessing)
    decode, draw = picture_cost(examples[:_TIMED_PICTURES], backbone.preprocessing, recipe)
    for stage in planned:
        devices = (stage.processes or 1) if device.type == "cuda" else 1
        if stage.depth == "full":
            network, example = _timed_network(backbone, None, head, device)
            network.bfloat16 = stage.precision == "bfloat16"
            full = cost(network, example).over(devices)
            # The loop draws by itself on a processor; beside a GPU worker processes do.
            train = full.train + draw if device.type == "cpu" else max(full.train, draw / threads)
            full = replace(full, train=train)
            continue
        trunk_seconds = _trunk_seconds(backbone, cuts[0], threads)
        for cut in cuts:
            if last and time.monotonic() > end:
                break
            network, example = _timed_network(backbone, cut, head, device)
            network.bfloat16 = stage.precision == "bfloat16"
            trunk = trunk_seconds * (1 - cut.share) / (1 - cuts[0].share)
            last[cut.place] = LastCost(cost(network, example).over(devices), trunk)
    return Costs(last, full, decode / threads, draw / threads)


def _trunk_seconds(backbone: TorchBackbone, cut: Cut, threads: int) -> float:
    """Seconds of one view of a picture through what lies before a cut, on all cores."""
    trunk, _ = divide(backbone).split(cut.place)
    size = backbone.preprocessing.size
    engine = OnnxEngine(trunk_to_onnx(trunk, backbone.preprocessing))
    picture = np.zeros((1, size, size, 3), np.uint8)
    engine.activations(picture)
    began = time.perf_counter()
    for _ in range(_TIMED_PICTURES):
        engine.activations(picture)
    return (time.perf_counter() - began) / _TIMED_PICTURES / threads


def _timed_network(
    backbone: TorchBackbone, cut: Cut | None, head: LinearHead, device: torch.device
) -> tuple[Network, torch.Tensor]:
    """What trains behind a cut, or all of it, and a few pictures for it."""
    size = backbone.preprocessing.size
    body, shape = (
        (Features(backbone.module), (3, size, size))
        if cut is None
        else (divide(backbone).split(cut.place)[1], cut.shape)
    )
    example = torch.zeros(_TIMED_PICTURES, *shape, device=device)
    if example.ndim == 4:
        example = example.contiguous(memory_format=torch.channels_last)
    return Network.of(body, head, device), example


def _words(stage: FineTuneConfig) -> str:
    epochs = f"{stage.epochs} epoch{'s' * (stage.epochs != 1)}"
    return f"{epochs} of the blocks from {stage.cut} on" if stage.depth == "last" else f"{epochs} of all blocks"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
