"""At which steps something is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vizsla.debugging.mode_keys import ModeKeys
from vizsla.errors import UsageError

FIELDS = ("save_interval", "start_step", "end_step", "save_steps")
_PREFIXES = {"train.": ModeKeys.TRAIN, "eval.": ModeKeys.EVAL, "predict.": ModeKeys.PREDICT}


class SaveConfigMode:
    """The steps of one mode: multiples of ``save_interval`` from ``start_step`` to before ``end_step``, and
    ``save_steps`` beside them."""

    def __init__(
        self,
        save_interval: int | None = None,
        start_step: int | None = None,
        end_step: int | None = None,
        save_steps: Sequence[int] | None = None,
    ) -> None:
        self.save_interval = 1 if save_interval is None else max(1, int(save_interval))
        self.start_step = int(start_step or 0)
        self.end_step = None if end_step is None else int(end_step)
        self.save_steps = [int(step) for step in save_steps or []]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    def should_save(self, step: int) -> bool:
        """Whether this step of the mode is recorded."""
        if step in self.save_steps:
            return True
        within = step >= self.start_step and (self.end_step is None or step < self.end_step)
        return within and step % self.save_interval == 0

    should_save_step = should_save

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: getattr(self, name) for name in FIELDS}

    to_json_dict = to_dict


class SaveConfig:
    """The steps of every mode; ``mode_save_configs`` gives a mode its own.

    Examples
    --------
    >>> SaveConfig({ModeKeys.EVAL: SaveConfigMode(save_interval=2)}).should_save_step(ModeKeys.EVAL, 3)
    False
    >>> SaveConfig(save_interval=5, start_step=7).should_save_step(ModeKeys.TRAIN, 10)
    True
    """

    def __init__(
        self,
        mode_save_configs: Mapping[ModeKeys, SaveConfigMode | Mapping[str, Any]] | int | None = None,
        save_interval: int | None = None,
        start_step: int | None = None,
        end_step: int | None = None,
        save_steps: Sequence[int] | None = None,
    ) -> None:
        if isinstance(mode_save_configs, int):
            mode_save_configs, save_interval = None, mode_save_configs
        self.general = SaveConfigMode(save_interval, start_step, end_step, save_steps)
        self.mode_save_configs = {
            mode: own if isinstance(own, SaveConfigMode) else SaveConfigMode(**own)
            for mode, own in (mode_save_configs or {}).items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SaveConfig) and other.to_dict() == self.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS:  # what AWS's class has itself
            return getattr(self.general, name)
        raise AttributeError(name)

    def get_save_config(self, mode: ModeKeys) -> SaveConfigMode:
        """The steps of this mode."""
        return self.mode_save_configs.get(mode, self.general)

    def should_save_step(self, mode: ModeKeys, step_num: int) -> bool:
        """Whether this step of this mode is recorded."""
        return self.get_save_config(mode).should_save(step_num)

    def to_dict(self) -> dict[str, Any]:
        """Mode names to their steps, plain JSON."""
        modes = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT, ModeKeys.GLOBAL)
        return {mode.name: self.get_save_config(mode).to_dict() for mode in modes}

    to_json_dict = to_dict

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], default_values: Mapping[str, Any] | None = None) -> SaveConfig:
        """From :meth:`to_dict`, or from the fields of one for all modes."""
        if set(values) & set(FIELDS):
            return cls(**{**(default_values or {}), **values})
        modes = {ModeKeys[str(mode)]: SaveConfigMode(**own) for mode, own in values.items()}
        general = modes.pop(ModeKeys.GLOBAL, SaveConfigMode())
        return cls({mode: own for mode, own in modes.items() if own != general}, **general.to_dict())

    @classmethod
    def from_json(cls, text: str) -> SaveConfig:
        """From :meth:`to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], default: SaveConfig | None = None) -> SaveConfig:
        """From parameters of a document like ``{"save_interval": "100", "eval.save_interval": "10"}``; values may be
        strings. What they leave out is as in ``default``.

        Raises
        ------
        UsageError
            For a value that is no number.
        """
        base = default.general.to_dict() if default is not None else {}
        general = base | (_fields(parameters, "global.") or _fields(parameters, ""))
        modes = dict(default.mode_save_configs) if default is not None else {}
        for prefix, mode in _PREFIXES.items():
            if own := _fields(parameters, prefix):
                modes[mode] = SaveConfigMode(**{**general, **own})
            elif _fields(parameters, ""):
                modes.pop(mode, None)
        return cls(modes, **general)


def _fields(parameters: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in FIELDS:
        value = parameters.get(prefix + name)
        if value is None or value == "":
            continue
        try:
            if name == "save_steps":
                parts = value.split(",") if isinstance(value, str) else value
                result[name] = [int(part) for part in parts if str(part).strip()]
            else:
                result[name] = int(value)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{value!r:.80} is no number of steps.",
                where=prefix + name,
                allowed="numbers parted by commas" if name == "save_steps" else "a whole number",
            ) from error
    return result
