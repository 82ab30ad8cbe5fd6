"""What the loaders of a PyTorch job took."""

from __future__ import annotations

from typing import Any

_OUTLIER = 2.0


class PT_dataloader_analysis:  # noqa: N801 - AWS's name
    """Asks the frame of framework metrics."""

    def __init__(self, pandas_frame: Any) -> None:
        self.frame = pandas_frame.assign(duration=pandas_frame["end_time_us"] - pandas_frame["start_time_us"])

    def _of(self, name: str, what: str) -> Any:
        frame = self.frame[self.frame["framework_metric"] == name].reset_index(drop=True)
        if frame.empty:
            print(f"{what}: none were recorded.")
            return frame
        lengths, middle = frame["duration"], frame["duration"].median()
        print(f"{what}: {len(frame)}, median {middle / 1000:.1f} ms, longest {lengths.max() / 1000:.1f} ms.")
        slow = int((lengths > _OUTLIER * middle).sum())
        print(f"{slow} of them took more than twice the median.")
        return frame

    def analyze_dataloaderIter_initialization(self) -> Any:  # noqa: N802
        """How long it took until a loader began."""
        return self._of("DataLoaderIterInitialize", "Starts of a loader")

    def analyze_dataloaderWorkers(self) -> Any:  # noqa: N802
        """What workers did: in the page of the profiler, by worker."""
        return self._of("DataLoaderWorker", "Workers")

    def analyze_dataloader_getnext(self) -> Any:
        """How long the loop waited for its batches."""
        return self._of("DataLoaderIter", "Waits for a batch")

    def analyze_batchtime(self, start_timestamp: float = 0, end_timestamp: float = float("inf"), *_: object) -> Any:
        """How long steps took that began between two moments (us, as in the frame)."""
        frame = self._of("Step:ModeKeys.TRAIN", "Steps")
        return frame[frame["start_time_us"].between(start_timestamp, end_timestamp)].reset_index(drop=True)
