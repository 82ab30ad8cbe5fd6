"""The hyperparameters of a head, in the two ways to train one: to the optimum, or in steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, TypeAlias

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.training.allowed import check
from vizsla.training.optimizers import Optimizer

Balance = Literal["none", "weights", "sampling"]


@dataclass(frozen=True)
class LbfgsConfig:
    """A head that is the optimum of its problem; a linear one (the default kind of ``head``) is multinomial logistic
    regression on standardised features.

    ``weight_decay`` is the strength λ of the penalty λ/2 · |weights|² on top of the mean cross-entropy (scikit-learn's
    ``C`` is 1 / (n λ)); None chooses it by the loss on pictures that training does not see. ``balance`` counters
    unequal class sizes: ``weights`` weighs each picture's loss by n / (classes * n_class); ``sampling`` has the same
    optimum. Nothing is drawn by chance but the folds, which ``seed`` decides.

    Examples
    --------
    >>> LbfgsConfig(balance="weights").to_dict()["optimizer"]
    'lbfgs'

    Raises
    ------
    UsageError
        When a value is out of range.
    """

    optimizer: Literal["lbfgs"] = "lbfgs"
    head: str = "linear"
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    balance: Balance = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, open_names=("weight_decay",))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a strength that is still to be chosen is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class StepConfig:
    """A head that is trained in steps, batch by batch, as a deep network is.

    ``balance`` counters unequal class sizes: ``weights`` weighs each picture's loss by n / (classes * n_class),
    ``sampling`` draws every class equally often. ``patience`` is the number of epochs without a better
    validation loss after which training stops and the best epoch is kept; None trains all ``epochs`` and keeps
    the last.

    Examples
    --------
    >>> StepConfig(lr=0.001, epochs=20).optimizer
    'adamw'

    Raises
    ------
    UsageError
        When a value is out of range.
    """

    ONLY: ClassVar = ("lr", "batch_size", "epochs", "momentum", "nesterov", "patience")
    """The hyperparameters that only steps have."""

    optimizer: Optimizer = "adamw"
    lr: float = 0.0003
    batch_size: int = 64
    epochs: int = 40
    weight_decay: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    label_smoothing: float = 0.0
    balance: Balance = "none"
    patience: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)
        if self.nesterov and not self.momentum:
            raise UsageError(
                f"{spelled('nesterov', True)} needs a momentum.", parameter="momentum", allowed="0 < momentum < 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


HeadConfig: TypeAlias = LbfgsConfig | StepConfig

HYPERPARAMETERS = ("head", *(f.name for f in fields(StepConfig)))
"""The names of a head's hyperparameters."""


def head_config(values: Mapping[str, Any], base: HeadConfig | None = None) -> HeadConfig:
    """The configuration that some hyperparameters by name mean, the others as in ``base``.

    The optimum is the default (``optimizer="lbfgs"``). A hyperparameter that only steps have, such as ``lr``, asks for
    them: for AdamW, unless ``optimizer`` says for which. ``patience`` 0 or "none" never stops.

    Examples
    --------
    >>> head_config({}).optimizer, head_config({"lr": 0.01}).optimizer
    ('lbfgs', 'adamw')

    Raises
    ------
    UsageError
        When a value is out of range, or one that only steps have is named beside ``optimizer="lbfgs"``.
    """
    values = dict(values)
    if "patience" in values and values["patience"] in (0, "none"):
        values["patience"] = None
    own = [name for name in StepConfig.ONLY if name in values]
    optimizer = values.get("optimizer") or (base.optimizer if base and not own else None)
    if isinstance(base, StepConfig) and optimizer is None:
        optimizer = base.optimizer
    if optimizer == "lbfgs" and own:
        raise UsageError(
            f"{own[0]} means nothing to optimizer 'lbfgs', which has no steps.",
            parameter=own[0],
            allowed="with optimizer sgd, adam or adamw",
            do=f"leave {spelled(own[0])} out, or name one of these optimizers",
        )
    if values.get("head", "linear") != "linear" and (own or optimizer not in (None, "lbfgs")):
        name = own[0] if own else "optimizer"
        raise UsageError(
            f"A {values['head']} head is not trained in steps.",
            parameter=name,
            allowed=f"with {spelled('head', 'linear')}",
            do=f"leave {spelled(name)} out, or train a linear head",
        )
    kind: type[HeadConfig] = StepConfig if own or optimizer not in (None, "lbfgs") else LbfgsConfig
    names = {f.name for f in fields(kind)}
    start = {} if base is None else {n: v for n, v in base.to_dict().items() if n in names and n != "optimizer"}
    if base is not None and not isinstance(base, kind):
        start.pop("weight_decay", None)  # its strengths are not those of the other way
    if kind is StepConfig:
        values.pop("head", None)
    if optimizer is not None:
        start["optimizer"] = optimizer
    return kind(**start | values)
