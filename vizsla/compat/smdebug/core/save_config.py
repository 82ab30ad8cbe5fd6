"""At which steps something is recorded."""

from vizsla.debugging.save_config import SaveConfig, SaveConfigMode

__all__ = ["SaveConfig", "SaveConfigMode"]
