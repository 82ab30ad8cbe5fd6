"""Hyperparameters under one name: how projects with SageMaker train the last layer of a network, and search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizsla.errors import UsageError
from vizsla.tuning.head_space import head_name
from vizsla.tuning.space import Space, Value


@dataclass(frozen=True)
class Preset:
    """``values`` of hyperparameters, and the ``ranges`` of a search beside those that it does not name."""

    values: dict[str, Any]
    ranges: dict[str, str]

    def space(self, fixed: Mapping[str, Value]) -> Space:
        """The ranges less what is ``fixed``, which stays the same in every trial.

        Raises
        ------
        UsageError
            When nothing is left to search.
        """
        without = {head_name(name) for name in fixed}
        searched = Space.of({name: text for name, text in self.ranges.items() if name not in without})
        return Space(searched.parameters, dict(fixed))


_SCRIPT = {"depth": "head", "head": "linear", "weight_decay": 0.0, "label_smoothing": 0.0, "patience": "none"}
"""What a plain training script does: a new last layer on a frozen network, all epochs, torch's own defaults."""

PRESETS = {
    "last-layer-sgd": Preset(
        _SCRIPT | {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "batch_size": 64, "epochs": 5},
        {"lr": "0.001..0.1:log", "batch_size": "32,64,128,256,512", "momentum": "0.5..0.9"},
    ),
    "last-layer-adam": Preset(
        _SCRIPT | {"optimizer": "adam", "lr": 0.001, "momentum": 0.0, "batch_size": 32, "epochs": 5},
        {"lr": "0.0001..0.01:log", "batch_size": "16,32,64", "epochs": "5,10,20", "optimizer": "adam,sgd"},
    ),
}
"""By name. An option that is given comes before a value here."""


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    UsageError
        When there is none.

    Examples
    --------
    >>> find_preset("last-layer-sgd").values["momentum"]
    0.9
    """
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}.", parameter="preset", allowed=" or ".join(PRESETS))
    return PRESETS[name]
