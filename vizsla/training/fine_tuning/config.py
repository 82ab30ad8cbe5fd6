"""The hyperparameters of a training that reaches into the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeAlias

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.training.allowed import check
from vizsla.training.config import HYPERPARAMETERS as HEAD_HYPERPARAMETERS
from vizsla.training.config import Balance, HeadConfig, head_config
from vizsla.training.optimizers import Optimizer

Depth = Literal["last", "full", "auto"]
Augmentation = Literal["none", "light", "medium", "strong"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class FineTuneConfig:
    """A backbone that trains with its head, from the frozen head on.

    ``depth``: ``last`` runs the blocks before ``cut`` once, over some ``views`` of each picture, and trains what lies
    behind; ``full`` trains all of it; ``auto`` does what the time allows and the validation pictures bear out. None of
    ``cut``, ``lr``, ``epochs``: what suits the depth.

    The learning rate rises over the first ``warmup`` share of the steps to ``lr`` and falls along a cosine to 0; each
    block has ``layer_decay`` times that of the block above it, and trains once ``unfreeze`` epochs have passed for each
    block above it. ``batch_size`` pictures make a step, in ``accumulation`` parts. ``clip`` bounds the gradient's norm;
    0 does not. ``ema`` above 0 evaluates and keeps a moving average of the weights. ``mixup`` blends pairs of
    pictures (Beta(a, a), arXiv:1710.09412), ``cutmix`` lays a box of one over the other (arXiv:1905.04899); of both,
    each step draws one. ``batch_norm``: whether batch normalisation keeps the statistics of its
    pretraining (``frozen``), learns new ones (``train``, depth full only) or as suits the weights (``auto``).
    ``precision`` is that of products: bfloat16 where it is quicker here (``auto``); weights stay float32.
    ``processes`` share each batch and make the same steps as one; None: one a GPU, on a processor one.
    ``balance``, ``label_smoothing`` and ``patience`` are those of a head that is trained in steps.

    Examples
    --------
    >>> FineTuneConfig("full", epochs=3).resolved().lr
    0.0003

    Raises
    ------
    UsageError
        When a value is out of range.
    """

    ONLY: ClassVar = (
        *("cut", "augmentation", "flip", "views", "layer_decay", "unfreeze", "warmup"),
        *("clip", "accumulation", "ema", "mixup", "cutmix", "batch_norm", "precision", "processes"),
    )
    """The hyperparameters that a training of the head alone does not have."""

    depth: Depth = "last"
    cut: str | None = None
    augmentation: Augmentation = "medium"
    flip: bool = True
    views: int = 4
    optimizer: Optimizer = "adamw"
    lr: float | None = None
    layer_decay: float = 0.8
    unfreeze: float = 0.0
    batch_size: int = 32
    epochs: int | None = None
    warmup: float = 0.2
    weight_decay: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    label_smoothing: float = 0.1
    balance: Balance = "none"
    clip: float = 1.0
    accumulation: int = 1
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    precision: Precision = "auto"
    processes: int | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, open_names=("cut", "lr", "epochs", "patience", "processes"))
        if self.depth == "full" and self.cut is not None:
            raise UsageError(
                f"cut={self.cut!r} means nothing where all blocks train.",
                parameter="cut",
                allowed="with depth last or auto",
                do=f"leave {spelled('cut')} out, or name {spelled('depth', 'last')}",
            )
        if self.depth == "last" and self.batch_norm == "train":
            raise UsageError(
                "batch_norm='train' means nothing where the last blocks train: the statistics before the cut stay as "
                "they are.",
                parameter="batch_norm",
                allowed="auto or frozen; train with depth full or auto",
                do=f"leave {spelled('batch_norm')} out, or name {spelled('depth', 'full')}",
            )
        if self.processes is not None and self.processes > self.batch_size:
            raise UsageError(
                f"A batch of {self.batch_size} pictures cannot be shared by {self.processes} processes.",
                parameter="processes",
                allowed=f"at most {self.batch_size}",
                do=f"lower it, or raise {spelled('batch_size')}",
            )

    @property
    def is_open(self) -> bool:
        """Whether depth and epochs follow from the time there is."""
        return self.depth == "auto" and self.epochs is None

    def at(self, depth: Depth, cut: str | None = None) -> FineTuneConfig:
        """The same at another depth, without what means nothing there."""
        means_nothing = depth == "last" and self.batch_norm == "train"
        batch_norm = "auto" if means_nothing else self.batch_norm
        return replace(self, depth=depth, cut=None if depth == "full" else cut, batch_norm=batch_norm)

    def resolved(self) -> FineTuneConfig:
        """With the learning rate and the epochs that suit the depth, where they were left open."""
        lr, epochs = (9e-4, 8) if self.depth == "last" else (3e-4, 5)
        return replace(self, lr=self.lr or lr, epochs=self.epochs or epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is still to be chosen is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


TrainingConfig: TypeAlias = HeadConfig | FineTuneConfig

HYPERPARAMETERS = tuple(dict.fromkeys(["depth", *HEAD_HYPERPARAMETERS, *(f.name for f in fields(FineTuneConfig))]))
"""The names of all hyperparameters of a training."""


def training_config(values: Mapping[str, Any], minutes: float | None = None) -> TrainingConfig:
    """The configuration that some hyperparameters by name mean: of the head alone (``depth`` head, the default), or of
    a training that reaches into the backbone. Who names ``minutes`` and nothing else gets the best that they allow.

    Examples
    --------
    >>> training_config({}).optimizer, training_config({"depth": "last"}).optimizer
    ('lbfgs', 'adamw')

    Raises
    ------
    UsageError
        When a value is out of range, or a name means nothing at that depth.
    """
    depth = values.get("depth") or ("auto" if minutes is not None and not values.keys() - {"seed"} else "head")
    own = [name for name in FineTuneConfig.ONLY if name in values]
    if depth == "head":
        if own:
            raise UsageError(
                f"{own[0]} means nothing where the head alone is trained.",
                parameter=own[0],
                allowed="with depth last, full or auto",
                do=f"leave {spelled(own[0])} out, or name a depth",
            )
        return head_config({name: value for name, value in values.items() if name != "depth"})
    if values.get("head", "linear") != "linear" or values.get("optimizer") == "lbfgs":
        name = "optimizer" if values.get("optimizer") == "lbfgs" else "head"
        raise UsageError(
            f"{name}={values[name]!r} is for a head that is trained alone.",
            parameter=name,
            allowed=f"with {spelled('depth', 'head')}",
            do=f"leave {spelled(name)} or {spelled('depth')} out",
        )
    given = {name: value for name, value in values.items() if name != "head"} | {"depth": depth}
    if given.get("patience") in (0, "none"):
        given["patience"] = None
    return FineTuneConfig(**given)
