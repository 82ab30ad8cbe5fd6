"""A training job and its profile, as notebooks open it."""

from __future__ import annotations

import os
import time
from typing import Any

from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from vizsla.aws.local import local_path_of

_PAUSE_SECONDS = 0.5


class TrainingJob:
    """What ``DescribeTrainingJob`` says of a job, and readers of what was sampled while it ran."""

    def __init__(self, training_job_name: str, region: str | None = None) -> None:
        import boto3

        self.name, self.region = training_job_name, region
        self._client = boto3.client("sagemaker", region_name=region or os.environ.get("AWS_REGION"))
        self.profiler_config: dict[str, Any] = {}
        self.profiler_s3_output_path: str | None = None
        self.system_metrics_reader: LocalSystemMetricsReader | None = None
        self.framework_metrics_reader: None = None
        self.get_config_and_profiler_s3_output_path()

    def describe_training_job(self) -> dict[str, Any]:
        """What the control plane answers."""
        answer: dict[str, Any] = self._client.describe_training_job(TrainingJobName=self.name)
        return answer

    def get_config_and_profiler_s3_output_path(self) -> None:
        """Read where the profile lies.

        Raises
        ------
        ValueError
            When the job is not profiled.
        """
        told = self.describe_training_job()
        self.profiler_config = told.get("ProfilerConfig") or {}
        base = self.profiler_config.get("S3OutputPath")
        if base is None:
            raise ValueError(f"The job {self.name} has no ProfilerConfig: it is not profiled.")
        self.profiler_s3_output_path = f"{base.rstrip('/')}/{self.name}/profiler-output"

    def wait_for_sys_profiling_data_to_be_available(self) -> None:
        """Wait for the first sample, or for the end of the job."""
        reader = self._reader()
        while not reader.events and self.describe_training_job()["TrainingJobStatus"] == "InProgress":
            time.sleep(_PAUSE_SECONDS)

    def wait_for_framework_profiling_data_to_be_available(self) -> None:
        """Nothing to wait for: what a training loop does is recorded by the debugger's hook."""

    def get_systems_metrics_reader(self) -> LocalSystemMetricsReader:
        """A reader of what the machine did."""
        self.system_metrics_reader = self._reader()
        return self.system_metrics_reader

    def get_framework_metrics_reader(self) -> None:
        """None: see :meth:`wait_for_framework_profiling_data_to_be_available`."""
        return self.framework_metrics_reader

    def _reader(self) -> LocalSystemMetricsReader:
        address = self.profiler_s3_output_path or ""
        if (folder := local_path_of(address)) is None:
            from smdebug.trials.s3_trial import fetched  # with all that speaks to buckets

            folder = fetched(address)
        return LocalSystemMetricsReader(folder)
