"""Everything that one job recorded."""

from vizsla.debugging.trial import Trial

__all__ = ["Trial"]
