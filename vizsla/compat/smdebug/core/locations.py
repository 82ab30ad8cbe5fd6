"""Where things lie in a trial."""

from __future__ import annotations

from vizsla.debugging.store import INDEX, STATISTICS, TENSORS


class TensorLocation:
    """A tensor at a step."""

    def __init__(
        self, tname: str, mode: object, mode_step: int, event_file_name: str, *_: object, **__: object
    ) -> None:
        self.tensorname, self.mode, self.mode_step, self.event_file_name = tname, mode, mode_step, event_file_name


class IndexFileLocationUtils:
    """The index of a trial: here one file and a folder of tables."""

    INDEX_FILE, STATISTICS_FOLDER, TENSORS_FOLDER = INDEX, STATISTICS, TENSORS

    @staticmethod
    def get_index_path(path: str) -> str:
        """The folder of the tables."""
        return f"{path}/{STATISTICS}"
