"""The phases of training."""

from vizsla.debugging.mode_keys import ALLOWED_MODES, MODE_STEP, ModeKeys

__all__ = ["ALLOWED_MODES", "MODE_STEP", "ModeKeys"]
