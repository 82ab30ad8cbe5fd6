"""Files, whole when they are there."""

from smdebug.core.access_layer.utils import TSAccessFile, check_dir_exists, has_training_ended, training_has_ended

__all__ = ["TSAccessFile", "check_dir_exists", "has_training_ended", "training_has_ended"]
