"""A training job by its name."""

from __future__ import annotations

import time
from typing import Any

from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from vizsla.errors import JobError
from vizsla.jobs.directory import JobDirectory
from vizsla.profiling.layout import output_of
from vizsla.profiling.profile import JobProfile

_SECONDS = 600.0


class TrainingJob:
    """A job of this machine, by its name or folder; ``region`` means nothing here."""

    def __init__(self, training_job_name: str, region: str | None = None) -> None:
        self.name = str(training_job_name)
        self._job = JobDirectory.open(JobProfile(self.name).job)
        self.profiler_s3_output_path = str(output_of(self._job.path))

    def describe_training_job(self) -> dict[str, Any]:
        """The job's document with its state, in SageMaker's names."""
        return {**self._job.document, "TrainingJobName": self._job.name, "TrainingJobStatus": self._job.state.status}

    def get_config_and_profiler_s3_output_path(self) -> tuple[dict[str, Any] | None, str]:
        """What the document asks of the profiler, and where the profile is."""
        return self._job.document.get("ProfilerConfig"), self.profiler_s3_output_path

    def wait_for_sys_profiling_data_to_be_available(self) -> None:
        """Until there are samples.

        Raises
        ------
        JobError
            When the job has ended without any.
        """
        self._wait("system", lambda: len(JobProfile(self._job.path).samples) > 0)

    def wait_for_framework_profiling_data_to_be_available(self) -> None:
        """Until there is a training loop.

        Raises
        ------
        JobError
            When the job has ended without one.
        """
        self._wait("framework", lambda: bool(JobProfile(self._job.path).processes))

    def _wait(self, what: str, is_there: Any) -> None:
        end = time.monotonic() + _SECONDS
        while not is_there():
            if self._job.state.has_ended or time.monotonic() > end:
                raise JobError(f"Job {self._job.name!r} has no {what} metrics.", where=self.profiler_s3_output_path)
            time.sleep(0.5)

    def get_systems_metrics_reader(self) -> LocalSystemMetricsReader:
        """Of what the machine did."""
        return LocalSystemMetricsReader(self.profiler_s3_output_path)

    def get_framework_metrics_reader(self) -> LocalAlgorithmMetricsReader:
        """Of what the training loop did."""
        return LocalAlgorithmMetricsReader(self.profiler_s3_output_path)
