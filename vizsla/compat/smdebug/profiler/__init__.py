"""What scripts and notebooks import of the profiler."""

from __future__ import annotations

from smdebug.profiler.algorithm_metrics_reader import LocalAlgorithmMetricsReader, S3AlgorithmMetricsReader
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader, S3SystemMetricsReader

__all__ = [
    "LocalAlgorithmMetricsReader",
    "LocalSystemMetricsReader",
    "S3AlgorithmMetricsReader",
    "S3SystemMetricsReader",
]
