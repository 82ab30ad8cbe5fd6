"""The phases of training."""

from enum import Enum


class ModeKeys(Enum):
    """What the loop is doing now."""

    TRAIN = 1
    EVAL = 2
    PREDICT = 3
    GLOBAL = 4


ALLOWED_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT, ModeKeys.GLOBAL)
MODE_STEP = "mode_step"
