"""A trial on this machine, as scripts open it without ``create_trial``."""

from __future__ import annotations

from smdebug.trials.trial import Trial


class LocalTrial(Trial):
    """What was recorded in the folder ``dirname``."""

    def __init__(self, name: str, dirname: str, range_steps: tuple[int, int | None] | None = None, **_: object) -> None:
        super().__init__(dirname, name, range_steps)
