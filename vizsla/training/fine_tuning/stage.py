"""What trains at a depth: the blocks, and what they are fed with. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vizsla.files import sha256_json
from vizsla.images import Limits, read_file
from vizsla.models.backbone import TorchBackbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import trunk_to_onnx
from vizsla.models.trunk import Cut, Features, choose_cut, divide
from vizsla.training.callbacks import Callback
from vizsla.training.fine_tuning.activations import View, ensure_activations
from vizsla.training.fine_tuning.augmentation import Recipe
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.inputs import ActivationInputs, Inputs, PixelInputs
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.pixels import PixelStore
from vizsla.training.head_data import HeadData

_EXAMPLES = 8
_PROCESSOR = Path("/proc/cpuinfo")


class DeadlineError(Exception):
    """The time was over before there was anything to train on."""


@dataclass(frozen=True)
class Workshop:
    """What every stage works with: a backbone, the pictures and their labels, and the machine.

    ``on_progress`` is told (done, total) of the phase that runs. ``deadline``: a moment of ``time.monotonic()``, after
    which no more inputs are made.
    """

    backbone: TorchBackbone
    identity: str
    """Of the backbone's weights as they are: activations follow from them."""
    pictures: Pictures
    data: HeadData
    cache: Path
    threads: int
    device: torch.device
    callback: Callback
    on_progress: Callable[[int, int], None]
    deadline: float | None = None

    @property
    def examples(self) -> list[Path]:
        """A few of the training pictures, from all over."""
        rows = self.data.train
        return [self.pictures.paths[int(row)] for row in rows[:: max(1, len(rows) // _EXAMPLES)][:_EXAMPLES]]

    def inputs(self, config: FineTuneConfig) -> tuple[nn.Module, Inputs]:
        """The blocks that train, and their inputs: those behind the cut, or all of them.

        Raises
        ------
        DeadlineError
            When the deadline passes meanwhile.
        StorageError
            When the disk cannot hold them.
        """
        recipe = Recipe(config.augmentation, config.flip, self.backbone.preprocessing)
        if config.depth == "last":
            return self._last(config, choose_cut(divide(self.backbone).cuts, config.cut), recipe)
        plain = self._pixels(self.data.valid, as_model_input=True)
        inputs = PixelInputs(
            self._pixels(self.data.train), plain, recipe, self.backbone.preprocessing, self.device, self.threads
        )
        return Features(self.backbone.module), inputs

    def _last(self, config: FineTuneConfig, cut: Cut, recipe: Recipe) -> tuple[nn.Module, Inputs]:
        preprocessing, data, limits = self.backbone.preprocessing, self.data, Limits.from_settings()
        trunk, tail = divide(self.backbone).split(cut.place)
        rows = np.concatenate([data.train, data.valid])
        views: list[View] = [lambda row: preprocessing(read_file(self.pictures.paths[row], limits), limits)]
        if config.views > 1:
            store = self._pixels(data.train)

            def drawn(number: int) -> View:
                return lambda row: recipe(store.picture(row), [config.seed, number, row])

            views += map(drawn, range(1, config.views))
        engine = OnnxEngine(trunk_to_onnx(trunk, preprocessing))
        trunk_of = [self.identity, cut.place, engine.name, preprocessing.to_dict()]
        draws = [config.seed, config.augmentation, config.flip]
        total, done = len(data.train) * (config.views - 1) + len(rows), 0

        def on_done(count: int) -> None:
            nonlocal done
            done += count
            self._progress(done, total)

        self.callback.on_phase("activations", total)
        files = []
        for number, view in enumerate(views):
            own = data.train if number else rows
            content = [trunk_of, number and [number, *draws, own.tolist()], self.pictures.keys[own].tobytes().hex()]
            path = self.cache / "activations" / f"{sha256_json(content)[:32]}.f16"
            file = ensure_activations(path, own, cut.shape, view, engine, threads=self.threads, on_done=on_done)
            files.append(file)
        return tail, ActivationInputs(files, self.device)

    def _pixels(self, rows: npt.NDArray[np.int64], *, as_model_input: bool = False) -> PixelStore:
        self.callback.on_phase("pixels", len(rows))
        return PixelStore.open(
            self.cache,
            self.pictures.paths,
            self.pictures.keys,
            rows,
            self.backbone.preprocessing,
            threads=self.threads,
            as_model_input=as_model_input,
            on_progress=self._progress,
        )

    def _progress(self, done: int, total: int) -> None:
        self.on_progress(done, total)
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineError


def gains_from_bfloat16(device: torch.device, module: nn.Module) -> bool:
    """Whether products of bfloat16 make the steps of a network quicker: on GPUs from 2020 on, on processors with AMX,
    and on those with AVX-512 BF16 where no convolution is depthwise (there all of resnet50 took half the time, and all
    of mobilenetv3 1.4 times as long; docs/performance.md). Told by what they are, not by a clock, so that the same
    training gives the same bits."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = _PROCESSOR.read_text("ascii", "replace") if device.type == "cpu" else ""
    except OSError:
        return False
    convolutions = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    return "amx_bf16" in flags or (
        "avx512_bf16" in flags and not any(layer.groups == layer.in_channels > 1 for layer in convolutions)
    )


def best_device() -> torch.device:
    """The GPU where there is one, CUDA's or Apple's; else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
