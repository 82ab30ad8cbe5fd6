"""The hyperparameters of heads as a search names them, and the spaces that they may be searched in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.training import config as configs
from vizsla.training.config import HeadConfig, StepConfig
from vizsla.training.fine_tuning.config import HYPERPARAMETERS
from vizsla.tuning.space import CategoricalParameter, Space, Value, own_space, own_value

_NAMES = {"learning_rate": "lr", "wd": "weight_decay", "batch": "batch_size"}


def head_name(name: str) -> str:
    """The hyperparameter that a name means: ``batch-size`` is ``batch_size``, ``learning_rate`` is ``lr``."""
    plain = name.replace("-", "_").lower()
    return _NAMES.get(plain, plain)


def head_config(base: HeadConfig, values: Mapping[str, Value]) -> HeadConfig:
    """``base`` with ``values`` in their place; of values for an optimizer without steps, those that it has.

    Raises
    ------
    UsageError
        For a name that is no hyperparameter, or a value that cannot be used.
    """
    return configs.head_config(hyperparameters(effective(values)), base)


def effective(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values less those that their optimizer does not have: a search over several optimizers names them, too.

    Examples
    --------
    >>> effective({"optimizer": "lbfgs", "learning_rate": 0.1, "weight_decay": 0.01})
    {'optimizer': 'lbfgs', 'weight_decay': 0.01}
    """
    optimizer = {head_name(name): value for name, value in values.items()}.get("optimizer")
    without = StepConfig.ONLY if str(optimizer).lower() == "lbfgs" else ()
    return {name: value for name, value in values.items() if head_name(name) not in without}


def hyperparameters(values: Mapping[str, Value]) -> dict[str, Any]:
    """The values by the hyperparameters' own names.

    Raises
    ------
    UsageError
        For a name that is no hyperparameter, or two that are one.
    """
    changes: dict[str, Any] = {}
    for name, value in values.items():
        own = head_name(name)
        if own not in HYPERPARAMETERS or own == "seed":
            allowed = ", ".join(n for n in HYPERPARAMETERS if n != "seed")
            close = difflib.get_close_matches(own, HYPERPARAMETERS, 1)
            raise UsageError(
                f"There is no hyperparameter {name!r}.",
                where=f"parameter {name}",
                allowed=allowed,
                do=f"did you mean {close[0]!r}?" if close else None,
            )
        if own in changes:
            raise UsageError(f"{name!r} and another name mean {own}.", parameter=own, do="name it once")
        if own in ("optimizer", "balance") and isinstance(value, str):
            value = value.lower()
        changes[own] = value
    return changes


def check_space(base: HeadConfig, space: Space) -> HeadConfig:
    """That every value the space holds can be trained with.

    Returns
    -------
    One of the configurations that the space holds.

    Raises
    ------
    UsageError
        For the first that cannot; the message names the parameter.
    """
    fixed = dict(space.static)
    for name, p in space.parameters.items():
        values = p.values if isinstance(p, CategoricalParameter) else (p.min_value, p.max_value)
        for value in values:
            head_config(base, fixed | {name: value})
    _check_optimizers(base, space)
    return head_config(base, {name: _some(space.parameters[name]) for name in space.parameters} | fixed)


def _check_optimizers(base: HeadConfig, space: Space) -> None:
    """That what some optimizers have is searched only where one of them is."""
    searched = {head_name(name): name for name in space.parameters}
    if "optimizer" in searched:
        p = space.parameters[searched["optimizer"]]
        optimizers = {str(v).lower() for v in (p.values if isinstance(p, CategoricalParameter) else ())}
    else:
        static = hyperparameters(space.static)
        steps = [name for name in searched if name in StepConfig.ONLY and name not in static]
        optimizers = {static.get("optimizer") or ("adamw" if steps and base.optimizer == "lbfgs" else base.optimizer)}
    for name in StepConfig.ONLY:
        owners = {"sgd"} if name in ("momentum", "nesterov") else {"sgd", "adam", "adamw"}
        if name in searched and not optimizers & owners:
            one = sorted(owners)[-1]
            raise UsageError(
                f"{name} is searched, and no optimizer of this search has it: {', '.join(sorted(optimizers))}.",
                parameter=name,
                allowed=f"with {spelled('optimizer', one)}, or {one} among the optimizers searched",
                do=f"add {spelled('optimizer', one)}, or leave it out",
            )


_USUAL = {"lr": "0.0001..0.03:log", "weight_decay": "0.0001..1:log", "batch_size": "32,64,128,256", "balance": "none"}


def default_space(fixed: Mapping[str, Value] | None = None) -> Space:
    """What is searched where no range is named: what decides a linear head on frozen features, less what is fixed.

    Raises
    ------
    UsageError
        When ``fixed`` leaves nothing of it.

    Examples
    --------
    >>> list(default_space({"learning_rate": 0.01}).parameters)
    ['weight_decay', 'batch_size']
    """
    fixed = dict(fixed or {})
    by_name = {head_name(name): value for name, value in fixed.items()}
    without = set(by_name)
    if by_name.get("optimizer") == "lbfgs" or by_name.get("head", "linear") != "linear":
        without |= set(StepConfig.ONLY)  # these heads are not trained in steps
    rest = {name: text for name, text in _USUAL.items() if name not in without}
    if not set(rest) - {"balance"}:
        raise UsageError(
            f"Nothing is left to search: {', '.join(fixed)} are fixed.",
            where="hyperparameters",
            do="leave one of them out, or name a range, such as lr=0.001..0.1:log",
        )
    usual = Space.of(rest)
    return Space(usual.parameters, dict(usual.static) | fixed)


def head_space(space: Space | None, fixed: Mapping[str, Any]) -> Space | None:
    """The space of a search for heads, beside hyperparameters that stay the same in every trial.

    None is the default one, of which those are then left out; a ``space`` that names one of them, too, is refused.

    Raises
    ------
    UsageError
        When one comes twice, or nothing is left to search.
    """
    values = {
        name: "none" if head_name(name) == "patience" and value is None else own_value(value)
        for name, value in fixed.items()
    }
    values = {name: value for name, value in values.items() if value is not None}  # None: to be chosen
    if space is None:
        return default_space(values) if values else None
    named = {head_name(name) for name in (*space.parameters, *space.static)}
    if both := [name for name in values if head_name(name) in named]:
        raise UsageError(f"Parameter {both[0]!r} comes twice.", where="hyperparameters", do="name it once")
    return own_space(Space(space.parameters, dict(space.static) | values))


def _some(p: Any) -> Value:
    return p.values[0] if isinstance(p, CategoricalParameter) else p.min_value
