"""The phases of training."""

from vizsla.debugging.modes import ALLOWED_MODES, MODE_STEP, ModeKeys

__all__ = ["ALLOWED_MODES", "MODE_STEP", "ModeKeys"]
