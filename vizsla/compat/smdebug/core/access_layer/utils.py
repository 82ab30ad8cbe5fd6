"""The mark of a training's end, and files that appear whole."""

from __future__ import annotations

from pathlib import Path

from smdebug.core.utils import check_dir_exists
from vizsla.debugging.store import END
from vizsla.files import write_bytes

__all__ = ["TSAccessFile", "check_dir_exists", "has_training_ended", "training_has_ended"]


class TSAccessFile:
    """A file that appears when it is closed."""

    def __init__(self, path: str, mode: str = "w") -> None:
        self._path, self._parts = Path(path), b""

    def write(self, data: bytes | str) -> tuple[int, int]:
        """Add to it; where what was added begins, and its length."""
        start, new = len(self._parts), data.encode() if isinstance(data, str) else data
        self._parts += new
        return start, len(new)

    def flush(self) -> None:
        """Nothing: it appears whole."""

    def close(self) -> None:
        """Let it appear."""
        write_bytes(self._path, self._parts, make_folder=True)


def training_has_ended(trial_prefix: str) -> None:
    """Leave the mark."""
    Path(trial_prefix).mkdir(parents=True, exist_ok=True)
    (Path(trial_prefix) / END).touch()


def has_training_ended(trial_prefix: str) -> bool:
    """Whether the mark is there."""
    return (Path(trial_prefix) / END).exists()
