"""At which steps something is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smdebug.core.modes import ModeKeys


class SaveConfigMode:
    """The steps of one mode: every ``save_interval`` from ``start_step`` to before ``end_step``, and ``save_steps``."""

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

    def should_save_step(self, step: int) -> bool:
        """Whether this step is recorded."""
        if self.save_steps:
            return step in self.save_steps
        if step < self.start_step or (self.end_step is not None and step >= self.end_step):
            return False
        return (step - self.start_step) % self.save_interval == 0


class SaveConfig(SaveConfigMode):
    """The steps of every mode; ``mode_save_configs`` gives a mode its own."""

    def __init__(
        self,
        save_interval: int | None = None,
        start_step: int | None = None,
        end_step: int | None = None,
        save_steps: Sequence[int] | None = None,
        mode_save_configs: Mapping[ModeKeys, SaveConfigMode] | None = None,
    ) -> None:
        super().__init__(save_interval, start_step, end_step, save_steps)
        self.mode_save_configs = dict(mode_save_configs or {})

    def get_save_config(self, mode: ModeKeys) -> SaveConfigMode:
        """The steps of this mode."""
        return self.mode_save_configs.get(mode, self)

    def should_save(self, mode: ModeKeys, step: int) -> bool:
        """Whether this step of this mode is recorded."""
        return self.get_save_config(mode).should_save_step(step)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> SaveConfig:
        """From hook parameters like ``{"save_interval": "100", "eval.save_interval": "10"}``; values are strings."""
        prefixes = {"train.": ModeKeys.TRAIN, "eval.": ModeKeys.EVAL, "predict.": ModeKeys.PREDICT}
        by_mode = {mode: _fields(parameters, prefix) for prefix, mode in prefixes.items()}
        general = _fields(parameters, "global.") or _fields(parameters, "")
        modes = {mode: SaveConfigMode(**{**general, **own}) for mode, own in by_mode.items() if own}
        return cls(**general, mode_save_configs=modes)


def _fields(parameters: Mapping[str, str], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("save_interval", "start_step", "end_step", "save_steps"):
        text = parameters.get(prefix + name)
        if text is None or text == "":
            continue
        found[name] = [int(p) for p in str(text).split(",") if p.strip()] if name == "save_steps" else int(text)
    return found
