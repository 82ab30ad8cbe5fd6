"""The hyperparameters of a training that reaches into the backbone, as a search names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from vizsla.errors import UsageError
from vizsla.training.fine_tuning.config import FineTuneConfig, training_config
from vizsla.tuning.head_space import head_name, hyperparameters
from vizsla.tuning.space import CategoricalParameter, Space, Value, own_space

_USUAL = {
    "lr": "0.0003..0.003:log",
    "layer_decay": "0.6..1.0",
    "augmentation": "light,medium,strong",
    "label_smoothing": "0..0.2",
}

BACKBONE = "backbone"
"""The dimension that is no hyperparameter: a trial begins with one of several backbones."""


def fine_tuning_space(space: Space | None, fixed: Mapping[str, Value]) -> Space:
    """The space of a search among trainings of the backbone, beside hyperparameters that stay the same; None is the
    usual one, of which those are then left out. Where no depth is named, the last blocks train.

    Raises
    ------
    UsageError
        When one comes twice, or nothing is left to search.
    """
    named = {head_name(name) for name in fixed}
    if space is None:
        rest = {name: text for name, text in _USUAL.items() if name not in named}
        if not rest:
            raise UsageError(
                f"Nothing is left to search: {', '.join(fixed)} are fixed.",
                where="hyperparameters",
                do="leave one of them out, or name a range, such as lr=0.0003..0.003:log",
            )
        space = Space.of(rest)
    taken = {head_name(name) for name in (*space.parameters, *space.static)}
    if both := sorted(named & taken):
        raise UsageError(f"Parameter {both[0]!r} comes twice.", where="hyperparameters", do="name it once")
    depth: dict[str, Value] = {} if "depth" in named | taken else {"depth": "last"}
    return own_space(Space(space.parameters, depth | dict(space.static) | dict(fixed)))


def reaches_backbone(space: Space | None, fixed: Mapping[str, object]) -> bool:
    """Whether a search is of trainings that reach into the backbone: a depth, or what only they have, is named."""
    named = {head_name(name) for name in fixed}
    if space is not None:
        named |= {head_name(name) for name in (*space.parameters, *space.static)}
    depth = {head_name(name): value for name, value in fixed.items()}.get("depth", "head")
    return bool(named & {*FineTuneConfig.ONLY, BACKBONE}) or (
        "depth" in named and (depth != "head" or "depth" not in fixed)
    )


def fine_tune_config(base: FineTuneConfig, values: Mapping[str, Value]) -> FineTuneConfig:
    """``base`` with ``values`` in their place; a backbone among them is left out.

    Raises
    ------
    UsageError
        For a name that is no hyperparameter, a value that cannot be used, or a depth that is not one alone.
    """
    values = {name: value for name, value in values.items() if name != BACKBONE}
    given = {"depth": base.depth} | hyperparameters(values)
    if given["depth"] not in ("last", "full"):
        raise UsageError(
            f"depth={given['depth']!r} is no depth of a trial.",
            parameter="depth",
            allowed="last, full, or both; the frozen head is trained beside them",
        )
    config = training_config(base.to_dict() | given)
    assert isinstance(config, FineTuneConfig)
    return replace(config, seed=base.seed)


def backbones(space: Space) -> tuple[str, ...]:
    """The names of the backbones that trials begin with; none where all begin with the one of the request.

    Raises
    ------
    UsageError
        When they are a range of numbers.
    """
    parameter = space.parameters.get(BACKBONE)
    if parameter is None:
        return (str(space.static[BACKBONE]),) if BACKBONE in space.static else ()
    if not isinstance(parameter, CategoricalParameter):
        raise UsageError("A backbone is no number.", parameter=BACKBONE, allowed="names with commas between them")
    return tuple(map(str, parameter.values))


def cuts(space: Space | None) -> tuple[str, ...]:
    """The blocks before which trials cut the backbone; none where they are left open."""
    if space is None:
        return ()
    parameter = space.parameters.get("cut")
    named = parameter.values if isinstance(parameter, CategoricalParameter) else [space.static.get("cut")]
    return tuple(str(place) for place in named if place is not None)


def check_fine_tuning_space(base: FineTuneConfig, space: Space) -> None:
    """That every value the space holds can be trained with, at every depth it holds.

    Raises
    ------
    UsageError
        For the first that cannot; the message names the parameter.
    """
    values = {
        name: p.values if isinstance(p, CategoricalParameter) else (p.min_value, p.max_value)
        for name, p in space.parameters.items()
    }
    depth = next((name for name in values if head_name(name) == "depth"), None)
    depths: Sequence[dict[str, Value]] = [{}] if depth is None else [{depth: value} for value in values[depth]]
    for at_depth, name in product(depths, values):
        for value in values[name]:
            fine_tune_config(base, dict(space.static) | at_depth | {name: value})
