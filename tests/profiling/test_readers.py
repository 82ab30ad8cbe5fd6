"""``smdebug.profiler`` over a profile: the calls of AWS's notebooks."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("pandas")

import vizsla
from tests.profiling.conftest import Watch
from tests.profiling.loops import STEPS, Pictures, evaluate, train
from vizsla.errors import JobError
from vizsla.jobs.directory import JobDirectory
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.sampler import Lines

NOTEBOOK, UTILS = "smdebug.profiler.analysis.notebook_utils", "smdebug.profiler.analysis.utils"


@pytest.fixture
def profiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports of ``smdebug`` find ours."""
    monkeypatch.syspath_prepend(str(Path(vizsla.__file__).parent / "compat"))
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "smdebug"}
    yield lambda name: importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "smdebug"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def profiled(watch: Watch) -> JobProfile:
    """A loop that trains and evaluates, on a machine of two cores."""
    profile = watch(lambda: train(Pictures(), after=lambda model: evaluate(model, 16)))
    assert profile.segments is not None
    begin, end = profile.segments.loop
    lines = Lines(profile.folder / "system" / "incremental")
    for i in range(30):
        rows = [("cpu", f"cpu{c}", d, 50.0 + i) for c in (0, 1) for d in ("CPUUtilization", "I/OWaitPercentage")]
        lines.write([(begin - 1 + (end - begin + 2) * i / 29, [*rows, ("memory", "MemoryUsedPercent", "", 20.0)])])
    lines.close()
    return JobProfile(profile.job)


def test_frames_and_their_statistics(profiler: Any, profiled: JobProfile, tmp_path: Path) -> None:
    job = profiler(f"{NOTEBOOK}.training_job").TrainingJob(str(profiled.job), "us-east-1")
    job.wait_for_sys_profiling_data_to_be_available()
    job.wait_for_framework_profiling_data_to_be_available()
    frames = profiler(f"{UTILS}.profiler_data_to_pandas").PandasFrame(job.profiler_s3_output_path)
    system, framework = frames.get_all_system_metrics(), frames.get_all_framework_metrics()
    assert len(system) == 150
    assert len(frames.get_all_system_metrics(["cpu0"])) == 60
    counts = framework["framework_metric"].value_counts()
    assert counts["Step:ModeKeys.TRAIN"] == STEPS
    assert counts["Step:ModeKeys.EVAL"] == 4
    assert counts["Backward(post-forward)"] == STEPS
    analysis = profiler(f"{UTILS}.pandas_data_analysis")
    asked = analysis.PandasFrameAnalysis(system, framework)
    statistics = asked.get_job_statistics()
    shares = [statistics[f"{part}_%"] for part in ("initialization", "training_loop", "finalization")]
    assert sum(shares) == pytest.approx(100)
    assert 900 < statistics["initialization"] < 1100
    steps = asked.get_step_statistics().set_index("training_phase")
    assert list(steps.columns[:2]) == ["duration_mean_us", "duration_min_us"]
    assert steps.loc["Step:ModeKeys.TRAIN", "duration_mean_us"] > 0
    assert "Optimizer" in set(asked.get_step_statistics(analysis.StatsBy.FRAMEWORK_METRICS)["framework_metric"])
    used = asked.get_utilization_stats(analysis.Resource.CPU, analysis.StatsBy.TRAINING_PHASE)
    assert "Step:ModeKeys.TRAIN" in set(used["Training_phase"])
    intervals = asked.get_training_phase_intervals()
    assert list(intervals["phase"][:2]) == ["Before Step:ModeKeys.TRAIN", "Step:ModeKeys.TRAIN"]
    assert int(asked.get_device_usage_stats()[(10, 90)].iloc[0]) == 60
    chosen, events = frames.get_profiler_data_by_step(2, 5)
    assert set(events["step"]) >= {2, 3, 4, 5}
    assert len(chosen) <= len(system)
    merged = profiler(f"{UTILS}.merge_timelines").MergedTimeline(job.profiler_s3_output_path, None, str(tmp_path))
    lines = json.loads(Path(merged.merge_timeline(0, 2e15)).read_text())
    assert {"Forward", "cpu0 CPUUtilization"} <= {line["name"] for line in lines}


def test_readers_and_charts(profiler: Any, profiled: JobProfile, capsys: pytest.CaptureFixture[str]) -> None:
    job = profiler(f"{NOTEBOOK}.training_job").TrainingJob(str(profiled.job))
    system, framework = job.get_systems_metrics_reader(), job.get_framework_metrics_reader()
    system.refresh_event_file_list()
    last = system.get_timestamp_of_latest_available_file()
    units = profiler("smdebug.profiler.utils").TimeUnits
    assert len(system.get_events(0, last / 1e6 + 1, units.SECONDS, "cpu")) == 120
    event = next(e for e in framework.get_events(0, last) if e.event_name == "Forward")
    assert event.duration == event.end_time - event.start_time > 0
    histogram = profiler(f"{NOTEBOOK}.metrics_histogram").MetricsHistogram(system)
    histogram.plot(starttime=0, endtime=last, select_dimensions=["CPU", "GPU"], select_events=["total"])
    charts = [
        histogram,
        profiler(f"{NOTEBOOK}.step_histogram").StepHistogram(framework).plot(show_workers=True),
        profiler(f"{NOTEBOOK}.step_timeline_chart").StepTimelineChart(framework),
        profiler(f"{NOTEBOOK}.timeline_charts").TimelineCharts(system, framework, select_dimensions=["CPU"]),
        profiler(f"{NOTEBOOK}.heatmap").Heatmap(system, framework, select_dimensions=["CPU"]),
    ]
    assert all("<svg" in chart._repr_html_() for chart in charts)
    loaders = profiler(f"{UTILS}.pytorch_dataloader_analysis").PT_dataloader_analysis
    frames = profiler(f"{UTILS}.profiler_data_to_pandas").PandasFrame(str(profiled.job))
    assert len(loaders(frames.get_all_framework_metrics()).analyze_batchtime()) == STEPS
    assert f"Steps: {STEPS}, median" in capsys.readouterr().out


def test_where_nothing_was_recorded(profiler: Any, job: JobDirectory, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="No profile was recorded there"):
        profiler(f"{UTILS}.profiler_data_to_pandas").PandasFrame(str(tmp_path))
    job.set_state("InProgress")
    job.set_state("Failed", "for a test")
    training = profiler(f"{NOTEBOOK}.training_job").TrainingJob(str(job.path))
    with pytest.raises(JobError, match="has no system metrics"):
        training.wait_for_sys_profiling_data_to_be_available()
