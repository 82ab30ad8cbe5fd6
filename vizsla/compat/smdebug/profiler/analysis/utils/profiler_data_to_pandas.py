"""A profile as data frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smdebug.profiler.profile_folder import profile_at
from vizsla.profiling.framework import events_of, framework_columns


class PandasFrame:
    """Reads ``profiler-output`` of a job; a job's folder or name will do, too."""

    def __init__(
        self, path: str, use_in_memory_cache: bool = False, scan_interval: int = 5_000_000_000, **_: object
    ) -> None:
        self._path = str(path)
        self._profile = profile_at(self._path)

    def get_all_system_metrics(
        self, selected_system_metrics: Sequence[str] = (), systemk_metrics_list: Sequence[str] = ()
    ) -> Any:
        """Everything that was sampled, or the metrics of these names."""
        self._profile = profile_at(self._path)
        return _chosen(self._profile.system_metrics(), "system_metric", selected_system_metrics)

    def get_all_framework_metrics(self, selected_framework_metrics: Sequence[str] = ()) -> Any:
        """All events of the training loop, or those of these names."""
        self._profile = profile_at(self._path)
        frame = pd.DataFrame(framework_columns(events_of(self._profile)))
        return _chosen(frame, "framework_metric", selected_framework_metrics)

    def get_all_dataloader_metrics(self, selected_framework_metrics: Sequence[str] = ()) -> Any:
        """The events of loaders."""
        frame = self.get_all_framework_metrics(selected_framework_metrics)
        return frame[frame["framework_metric"].str.startswith("DataLoader")].reset_index(drop=True)

    def get_profiler_data_by_time(
        self,
        start_time_us: float,
        end_time_us: float,
        cache_metrics: bool = False,
        selected_framework_metrics: Sequence[str] = (),
        selected_system_metrics: Sequence[str] = (),
        get_framework_metrics: bool = True,
        get_system_metrics: bool = True,
    ) -> tuple[Any, Any]:
        """Both frames between two moments, in microseconds of Unix time."""
        system, framework = pd.DataFrame(), pd.DataFrame()
        if get_system_metrics:
            frame = self.get_all_system_metrics(selected_system_metrics)
            moments = pd.to_datetime(frame["timestamp"], format="%Y-%m-%dT%H:%M:%S:%f").astype("int64") // _NS
            system = frame[np.asarray((moments >= start_time_us) & (moments <= end_time_us))].reset_index(drop=True)
        if get_framework_metrics:
            frame = self.get_all_framework_metrics(selected_framework_metrics)
            moments = pd.to_datetime(frame["start_time"], format="%Y-%m-%dT%H:%M:%S:%f").astype("int64") // _NS
            framework = frame[np.asarray((moments >= start_time_us) & (moments <= end_time_us))].reset_index(drop=True)
        return system, framework

    def get_profiler_data_by_step(
        self,
        start_step: int,
        end_step: int,
        cache_metrics: bool = False,
        selected_framework_metrics: Sequence[str] = (),
        selected_system_metrics: Sequence[str] = (),
        get_framework_metrics: bool = True,
        get_system_metrics: bool = True,
    ) -> tuple[Any, Any]:
        """Both frames from the first of these steps to the last."""
        steps = self._profile.steps()
        if steps is None or start_step >= len(steps):
            return pd.DataFrame(), pd.DataFrame()
        last = min(end_step, len(steps) - 1)
        begin, end = float(steps.began[start_step]) * 1e6, float(steps.began[last] + steps.seconds[last]) * 1e6
        return self.get_profiler_data_by_time(
            begin,
            end,
            cache_metrics,
            selected_framework_metrics,
            selected_system_metrics,
            get_framework_metrics,
            get_system_metrics,
        )


_NS = (
    1
    if pd.to_datetime(pd.Series(["2026-01-01T00:00:00:000001"]), format="%Y-%m-%dT%H:%M:%S:%f").dtype
    == ("datetime64[us]")
    else 1000
)
"""What microseconds are in the unit that pandas keeps moments in."""


def _chosen(frame: Any, column: str, names: Sequence[str]) -> Any:
    return frame[frame[column].isin(list(names))].reset_index(drop=True) if len(names) else frame
