"""What both readers of a profile have."""

from __future__ import annotations

from smdebug.profiler.profile_folder import profile_at
from vizsla.profiling.profile import JobProfile


class MetricsReaderBase:
    """Reads a profile; what was read is kept until it is refreshed."""

    def __init__(self, path: str, use_in_memory_cache: bool = False) -> None:
        self._path = str(path)
        self.profile: JobProfile = profile_at(self._path)

    def refresh_event_file_list(self) -> None:
        """See what has come since."""
        self.profile = profile_at(self._path)

    def get_timestamp_of_latest_available_file(self) -> int:
        """The last moment that was recorded, in microseconds of Unix time."""
        return int(self.profile.span[1] * 1e6)
