"""A trainer that reaches into the backbone: its last blocks, or all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError, ModelError, UsageError
from vizsla.files import sha256_json
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.training.callbacks import Callback
from vizsla.training.checkpoint import Checkpoint, interval
from vizsla.training.config import LbfgsConfig
from vizsla.training.features import Paths
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.heads import train_heads
from vizsla.training.temperature import best_temperature, losses
from vizsla.training.trained import TrainedHead
from vizsla.training.trainer import Frozen, Trainer, Training

if TYPE_CHECKING:
    import torch

    from vizsla.models.trunk import Cut, DividedBackbone
    from vizsla.training.fine_tuning.inputs import Inputs
    from vizsla.training.fine_tuning.loop import Network
    from vizsla.training.fine_tuning.pixels import PixelStore

CHECKPOINT = "backbone.checkpoint"
_SHARE = 0.35
"""Most of the operations that lie behind a cut that is chosen."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data set by row: their files, and SHA-256 of each one's bytes, uint8 (n, 32)."""

    paths: Paths
    keys: npt.NDArray[np.uint8]


class FineTuner(Trainer):
    """Trains the blocks behind a cut, or all of a backbone, from the best head of the frozen one on.

    Where the validation pictures bear out no gain beyond chance, the frozen backbone and its head are the result.

    Parameters
    ----------
    cache:
        Where pixels and activations are kept.
    threads:
        Cores.
    on_progress:
        Told (done, total) of the phase that runs.
    note:
        Told in words what was decided.
    """

    def __init__(
        self,
        folder: Path,
        config: FineTuneConfig,
        weights: BackboneSpec,
        pictures: Pictures,
        cache: Path,
        *,
        threads: int,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        note: Callable[[str], None] = lambda text: None,
        interval: Callable[[float], float] = interval,
    ) -> None:
        super().__init__(folder)
        self._config, self._weights, self._pictures, self._cache = config.resolved(), weights, pictures, cache
        self._threads, self._on_progress, self._note, self._interval = threads, on_progress, note, interval
        self._checkpoint: Checkpoint | None = None

    @property
    def phase(self) -> tuple[str, int | None]:
        return "fine-tuning", None

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        import torch

        from vizsla.models.backbone import load_backbone
        from vizsla.models.export import export
        from vizsla.models.trunk import DividedBackbone, Features
        from vizsla.training.fine_tuning.loop import fine_tune, predict

        config, data = self._config, frozen.data
        if not len(data.valid):
            raise DataError(
                "Fine-tuning needs validation pictures, which tell when to stop.", do="train with depth head"
            )
        callback.on_phase("head", None)
        balance = config.balance
        (head,) = train_heads(data, [LbfgsConfig(balance=balance, seed=config.seed)])
        assert isinstance(head.head, LinearHead)
        torch.set_num_threads(self._threads)
        device = best_device()
        backbone = load_backbone(self._weights)
        if config.depth == "last":
            divided = DividedBackbone(backbone)
            cut = choose(divided.cuts, config.cut)
            config = replace(config, cut=cut.place)
            body, inputs = self._last(divided, cut, frozen, config, callback, device)
        else:
            body = Features(backbone.module)
            inputs = self._full(frozen, config, callback, device)
        network = self._network(body, head.head, device, config)
        identity = sha256_json([frozen.identity, config.to_dict(), torch.__version__, self._threads])
        self._checkpoint = Checkpoint(self.folder / CHECKPOINT, identity, self._note, self._interval)
        callback.on_phase("fine-tuning", None)
        result = fine_tune(
            network,
            inputs,
            data,
            config,
            callback=callback,
            checkpoint=self._checkpoint,
            on_step=self._on_progress,
            note=self._note,
        )
        if not result.history:
            self._note("The time was over before one epoch of fine-tuning: the frozen backbone and its head are kept.")
            return Training(frozen.backbone, replace(head, stop=result.stop))
        labels = data.labels[data.valid]
        logits = predict(network, inputs, data.valid)
        temperature = best_temperature(logits, labels)
        gain = Gain.of(head.head.logits(data.table.take(data.valid)), logits, labels)
        self._note(gain.words)
        if not gain.beyond_chance:
            return Training(frozen.backbone, head)
        callback.on_phase("export", None)
        weight, bias = (tensor.detach().cpu().numpy() / temperature for tensor in network.head.parameters())
        trained = TrainedHead(
            config=config,
            head=LinearHead(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)),
            best_epoch=result.best_epoch,
            stopped_by=result.stopped_by,
            history=result.history,
            iterations=result.steps,
            stop=result.stop,
        )
        backbone.module.to("cpu").eval().requires_grad_(False)
        where = f"blocks from {config.cut} on" if config.cut else "all blocks"
        exported = export(backbone, frozen.backbone.name, f"{frozen.backbone.weights}, {where} trained", self._cache)
        return Training(exported, trained, head)

    def clear(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.remove()

    def _network(
        self, body: torch.nn.Module, head: LinearHead, device: torch.device, config: FineTuneConfig
    ) -> Network:
        import torch

        from vizsla.training.fine_tuning.loop import Network

        linear = torch.nn.Linear(head.weight.shape[1], head.weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(head.weight))
            linear.bias.copy_(torch.from_numpy(head.bias))
        network = Network(body, linear)
        network.to(device, memory_format=torch.channels_last).eval().requires_grad_(True)
        if config.depth == "full" and self._trains_statistics(network, config):
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                    module.train()
        return network

    def _trains_statistics(self, network: Network, config: FineTuneConfig) -> bool:
        if config.batch_norm != "auto":
            return config.batch_norm == "train"
        buffers = dict(network.named_buffers())
        means = [b for n, b in buffers.items() if n.endswith("running_mean")]
        folded = bool(means) and all(not bool(mean.any()) for mean in means)
        if folded:
            self._note(
                "In these weights batch normalisation is folded into the convolutions, so its statistics stay as they "
                "are: training with those of a batch would destroy them."
            )
        return bool(means) and not folded

    def _last(
        self,
        divided: DividedBackbone,
        cut: Cut,
        frozen: Frozen,
        config: FineTuneConfig,
        callback: Callback,
        device: torch.device,
    ) -> tuple[torch.nn.Module, Inputs]:
        """The blocks behind the cut, and what the trunk says of some views of each picture."""
        from vizsla.images import Limits, read_file
        from vizsla.models.engine import OnnxEngine
        from vizsla.models.export import trunk_to_onnx
        from vizsla.training.fine_tuning.activations import View, ensure_activations
        from vizsla.training.fine_tuning.augmentation import Recipe
        from vizsla.training.fine_tuning.inputs import ActivationInputs

        preprocessing, data = frozen.backbone.preprocessing, frozen.data
        trunk, tail = divided.split(cut.place)
        rows, limits = np.concatenate([data.train, data.valid]), Limits.from_settings()
        views: list[View] = [lambda row: preprocessing(read_file(self._pictures.paths[row], limits), limits)]
        if config.views > 1:
            store = self._pixels(frozen, callback)
            recipe = Recipe(config.augmentation, config.flip, preprocessing)

            def drawn(number: int) -> View:
                return lambda row: recipe(store.picture(row), [config.seed, number, row])

            views += map(drawn, range(1, config.views))
        engine = OnnxEngine(trunk_to_onnx(trunk, preprocessing))
        trunk_of = [frozen.backbone.sha256, cut.place, engine.name, preprocessing.to_dict()]
        draws = [config.seed, config.augmentation, config.flip]
        total, done = len(data.train) * (config.views - 1) + len(rows), 0

        def on_done(count: int) -> None:
            nonlocal done
            done += count
            self._on_progress(done, total)

        callback.on_phase("activations", total)
        files = []
        for number, view in enumerate(views):
            own = data.train if number else rows
            content = [trunk_of, number and [number, *draws, own.tolist()], self._pictures.keys[own].tobytes().hex()]
            path = self._cache / "activations" / f"{sha256_json(content)[:32]}.f16"
            file = ensure_activations(path, own, cut.shape, view, engine, threads=self._threads, on_done=on_done)
            files.append(file)
        return tail, ActivationInputs(files, device)

    def _full(self, frozen: Frozen, config: FineTuneConfig, callback: Callback, device: torch.device) -> Inputs:
        from vizsla.training.fine_tuning.augmentation import Recipe
        from vizsla.training.fine_tuning.inputs import PixelInputs

        preprocessing = frozen.backbone.preprocessing
        store = self._pixels(frozen, callback)
        recipe = Recipe(config.augmentation, config.flip, preprocessing)
        return PixelInputs(store, recipe, self._pictures.paths, preprocessing, device, self._threads)

    def _pixels(self, frozen: Frozen, callback: Callback) -> PixelStore:
        from vizsla.training.fine_tuning.pixels import PixelStore

        callback.on_phase("pixels", len(frozen.data.train))
        return PixelStore.open(
            self._cache,
            self._pictures.paths,
            self._pictures.keys,
            frozen.data.train,
            frozen.backbone.preprocessing,
            threads=self._threads,
            on_progress=self._on_progress,
        )


@dataclass(frozen=True)
class Gain:
    """What fine-tuning changed on the validation pictures: the mean of the losses' differences, picture by picture,
    each answer at its best temperature, with its standard error; and the share that is right, before and after."""

    loss: float
    error: float
    before: float
    after: float

    @classmethod
    def of(cls, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> Gain:
        """From logits (n, classes) before and after."""
        own = [losses(logits, labels, best_temperature(logits, labels)) for logits in (before, after)]
        difference = own[1] - own[0]
        error = float(difference.std(ddof=1) / np.sqrt(len(labels))) if len(labels) > 1 else float("inf")
        right = [float((logits.argmax(axis=1) == labels).mean()) for logits in (before, after)]
        return cls(float(difference.mean()), error, *right)

    @property
    def beyond_chance(self) -> bool:
        """Whether the loss fell by more than two standard errors."""
        return self.loss < -2 * self.error

    @property
    def words(self) -> str:
        """For a person."""
        change = (
            f"right before fine-tuning {100 * self.before:.1f} %, after it {100 * self.after:.1f} %; loss "
            f"{self.loss:+.3f} nats, give or take {2 * self.error:.3f}"
        )
        if self.beyond_chance:
            return f"On the validation pictures: {change}."
        return f"On the validation pictures: {change}. That may be chance: the frozen backbone and its head are kept."


def best_device() -> torch.device:
    """The GPU where there is one, CUDA's or Apple's; else the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose(cuts: tuple[Cut, ...], place: str | None) -> Cut:
    """The cut before the block ``place``; by default the first behind which at most a third of the operations lies.

    Raises
    ------
    UsageError
        When the backbone has no such place.
    ModelError
        When it has none at all.
    """
    if place is not None:
        match = next((cut for cut in cuts if cut.place == place), None)
        if match is None:
            raise UsageError(
                f"The backbone has no block {place!r} to be cut before.",
                where="parameter cut",
                allowed=", ".join(cut.place for cut in cuts),
            )
        return match
    allowed = [cut for cut in cuts if cut.share <= _SHARE]
    if not allowed:
        raise ModelError(
            "This backbone has no place to be cut before its last third.", do="train all of it: depth full"
        )
    return max(allowed, key=lambda cut: cut.share)
