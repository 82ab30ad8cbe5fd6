"""Reading what a hook recorded."""

from smdebug.trials.tensor import StepState, Tensor
from smdebug.trials.trial import Trial
from smdebug.trials.utils import create_trial, no_refresh, refresh

__all__ = ["StepState", "Tensor", "Trial", "create_trial", "no_refresh", "refresh"]
