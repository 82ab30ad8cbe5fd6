"""NVIDIA GPUs through NVML (``nvidia-ml-py``), where both are there."""

from __future__ import annotations

import os
from typing import Any


class Gpus:
    """The GPUs that this process may use. ``why`` says in words why none is read; None where some are."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.names: list[str] = []
        self._handles: list[tuple[int, Any]] = []
        try:
            import pynvml
        except ImportError:
            has_driver = os.path.exists("/proc/driver/nvidia/version")
            self.why = "nvidia-ml-py is not installed: pip install 'vizsla[gpu]'" if has_driver else "no NVIDIA driver"
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            numbers = range(pynvml.nvmlDeviceGetCount())
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            if visible is not None and all(part.strip().isdigit() for part in visible.split(",") if part.strip()):
                chosen = {int(part) for part in visible.split(",") if part.strip()}
                numbers = [number for number in numbers if number in chosen]  # type: ignore[assignment]
            for number in numbers:
                handle = pynvml.nvmlDeviceGetHandleByIndex(number)
                self._handles.append((number, handle))
                self.names.append(str(pynvml.nvmlDeviceGetName(handle)))
        except pynvml.NVMLError as error:
            self.why = f"NVML: {error}"
        if not self._handles and self.why is None:
            self.why = "no GPU"

    def read(self) -> list[tuple[int, float, float]]:
        """Number, utilisation (%), memory in use (%) of each.

        Raises
        ------
        Exception
            What NVML raises: a GPU that fell off the bus, a counter that may not be read.
        """
        rows = []
        for number, handle in self._handles:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            used = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            rows.append((number, float(used), 100 * memory.used / memory.total))
        return rows
