"""The hook that a PyTorch script registers, as AWS's behaves: what is asked for is kept whole, and modes are set."""

from __future__ import annotations

from vizsla.debugging.hook import Hook as OwnHook
from vizsla.jobs.inside import log_metric


class Hook(OwnHook):
    """See :class:`vizsla.debugging.hook.Hook`."""

    keeps_tensors = True
    detects_mode = False

    def _log_metric(self, name: str, value: float, step: int) -> None:
        log_metric(name, value, step=step)
