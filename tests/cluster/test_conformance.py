"""The Ray executor does what all executors must do."""

from __future__ import annotations

from pathlib import Path

import pytest

from vizsla.jobs.conformance.suite import ExecutorConformance
from vizsla.jobs.executors.base import Executor


class TestRay(ExecutorConformance):
    @pytest.fixture
    def executor(self, tmp_path: Path, ray_cluster: object) -> Executor:
        from vizsla.jobs.executors.ray import RayExecutor

        return RayExecutor(tmp_path / "runs")
