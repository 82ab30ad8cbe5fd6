"""Statistics of a profile's data frames."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import pandas as pd

_RANGES = ((90, 100), (10, 90), (0, 10))
_STATISTICS = ("mean", "min", "max", "p50", "p95", "p99")


class StatsBy(Enum):
    """What statistics are grouped by."""

    TRAINING_PHASE = "training_phase"
    FRAMEWORK_METRICS = "framework_metric"
    PROCESS = "process"


class Resource(Enum):
    """A part of the machine."""

    CPU = "cpu"
    GPU = "gpu"
    IO = "i/o"
    NETWORK = "network"
    MEMORY = "memory"


class PandasFrameAnalysis:
    """Asks both frames of :class:`~smdebug.profiler.analysis.utils.profiler_data_to_pandas.PandasFrame`."""

    def __init__(self, system_df: Any, framework_df: Any) -> None:
        self.sys_metrics_df = system_df
        self.framework_metrics_df = framework_df.assign(
            duration_us=framework_df["end_time_us"] - framework_df["start_time_us"]
        )

    @property
    def _steps(self) -> Any:
        frame = self.framework_metrics_df
        return frame[frame["framework_metric"].str.contains("Step:ModeKeys")]

    def get_job_statistics(self) -> dict[str, Any]:
        """Start, end, and how long the job, its initialization, training loop and finalization took (ms and %)."""
        system, steps = self.sys_metrics_df, self._steps
        offset = _offset_us(system, self.framework_metrics_df)
        begin, end = system["timestamp_us"].min(), system["timestamp_us"].max()
        first, last = steps["start_time_us"].min() + offset, steps["end_time_us"].max() + offset
        whole = end - begin
        parts = {"initialization": first - begin, "training_loop": last - first, "finalization": end - last}
        result: dict[str, Any] = {
            "start_time": system["timestamp"].min(),
            "end_time": system["timestamp"].max(),
            "job_duration": whole / 1000,
            "training_loop_start": steps["start_time"].min(),
            "training_loop_end": steps["end_time"].max(),
            "training_loop_duration": parts["training_loop"] / 1000,
            "initialization": parts["initialization"] / 1000,
            "finalization": parts["finalization"] / 1000,
        }
        return result | {f"{name}_%": 100 * value / whole if whole else 0.0 for name, value in parts.items()}

    def get_step_statistics(self, by: StatsBy = StatsBy.TRAINING_PHASE) -> Any:
        """Durations (us) by mode, by event or by process."""
        frame, column = self.framework_metrics_df, by.value
        if by is StatsBy.TRAINING_PHASE:
            frame, column = self._steps, StatsBy.FRAMEWORK_METRICS.value
        groups = frame.groupby(["step", column])
        lengths = (groups["end_time_us"].max() - groups["start_time_us"].min()).reset_index(name="us")
        result = _described(lengths.groupby(column)["us"])
        result.columns = [f"duration_{name}_us" for name in _STATISTICS]
        return result.reset_index().rename(columns={column: by.value})

    def get_utilization_stats(
        self,
        resource: Resource | Sequence[Resource] | None = None,
        by: StatsBy | None = None,
        phase: str | Sequence[str] | None = None,
    ) -> Any:
        """What was used of the machine, over all or by training phase."""
        chosen = [resource] if isinstance(resource, Resource) else list(resource or Resource)
        frame = self.sys_metrics_df[self.sys_metrics_df["type"].isin([r.value for r in chosen])]
        keys = ["type", "nodeID"]
        if by is StatsBy.TRAINING_PHASE:
            frame = frame.assign(Training_phase=self._phase_of(frame, phase))
            keys = ["type", "Training_phase", "nodeID"]
        result = _described(frame.groupby(keys)["value"])
        result.columns = [f"utilization_{name}" for name in _STATISTICS]
        return result.reset_index().rename(columns={"type": "Resource"})

    def _phase_of(self, frame: Any, phase: str | Sequence[str] | None) -> Any:
        result = pd.Series("", index=frame.index, dtype=object)
        offset = _offset_us(self.sys_metrics_df, self.framework_metrics_df)
        moments = frame["timestamp_us"] - offset
        for row in self.get_training_phase_intervals(phase).itertuples():
            result[(moments >= row.start_time_us) & (moments <= row.end_time_us)] = row.phase
        return result

    def get_device_usage_stats(
        self,
        device: Resource | Sequence[Resource] | None = None,
        utilization_ranges: Sequence[tuple[float, float]] | None = None,
    ) -> Any:
        """How many samples lie in each range of use."""
        chosen = [device] if isinstance(device, Resource) else list(device or (Resource.CPU, Resource.GPU))
        frame = self.sys_metrics_df
        frame = frame[
            frame["type"].isin([r.value for r in chosen])
            & frame["dimension"].isin(["CPUUtilization", "GPUUtilization"])
        ]
        ranges = list(utilization_ranges or _RANGES)
        counts = {
            limits: frame["value"].between(*limits).groupby([frame["type"], frame["nodeID"]]).sum() for limits in ranges
        }
        return pd.DataFrame(counts).reset_index()

    def get_training_phase_intervals(self, phase: str | Sequence[str] | None = None) -> Any:
        """From when to when the job trained and evaluated, in turns, with what lay before, between and after."""
        steps = self._steps.sort_values("start_time_us")
        wanted = [phase] if isinstance(phase, str) else list(phase or steps["framework_metric"].unique())
        steps = steps[steps["framework_metric"].isin(wanted)]
        name = steps["framework_metric"]
        runs = steps.groupby((name != name.shift()).cumsum())
        own = pd.DataFrame(
            {
                "start_time_us": runs["start_time_us"].min(),
                "end_time_us": runs["end_time_us"].max(),
                "phase": runs["framework_metric"].first(),
            }
        ).reset_index(drop=True)
        rows: list[dict[str, Any]] = []
        end = 0
        for row in own.to_dict("records"):
            before = rows[-1]["phase"] if rows else None
            gap = (
                f"Before {row['phase']}"
                if before is None
                else f"Between {' and '.join(sorted((before, row['phase'])))}"
            )
            rows += [{"start_time_us": end, "end_time_us": row["start_time_us"], "phase": gap}, row]
            end = row["end_time_us"]
        return pd.DataFrame(rows, columns=["start_time_us", "end_time_us", "phase"])


def _described(groups: Any) -> Any:
    quantiles = {name: groups.quantile(q) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return pd.DataFrame({"mean": groups.mean(), "min": groups.min(), "max": groups.max(), **quantiles})


def _offset_us(system: Any, framework: Any) -> int:
    """What the framework's times are to be moved by: each frame counts from its own first minute."""
    bases = [
        pd.to_datetime(f[c].min(), format="%Y-%m-%dT%H:%M:%S:%f")
        for f, c in ((system, "timestamp"), (framework, "start_time"))
    ]
    return int((bases[1].floor("min") - bases[0].floor("min")).total_seconds() * 1e6)
