"""Reading what a hook recorded."""

from smdebug.trials.local_trial import LocalTrial
from smdebug.trials.tensor import StepState, Tensor
from smdebug.trials.trial import Trial
from smdebug.trials.utils import create_trial, no_refresh, refresh

__all__ = ["LocalTrial", "S3Trial", "StepState", "Tensor", "Trial", "create_trial", "no_refresh", "refresh"]


def __getattr__(name: str) -> object:
    if name == "S3Trial":  # with all that speaks to buckets: only where it is wanted
        from smdebug.trials.s3_trial import S3Trial

        return S3Trial
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
