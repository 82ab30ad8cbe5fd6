"""Which reductions of a tensor are recorded."""

from vizsla.debugging.reductions import ReductionConfig

__all__ = ["ReductionConfig"]
