"""What runs a backbone: ONNX Runtime behind a small interface, so that another engine can follow."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vizsla.errors import ModelError

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs a backbone. Safe to call from several threads at once.

    ``name`` and ``precision`` are recorded in the model and in the feature cache's key: features of another
    engine are other features.
    """

    name: str
    precision: str

    def features(self, pixels: Pixels) -> Features:
        """(n, size, size, 3) uint8 to (n, d) float32."""
        ...

    def features_and_map(self, pixels: Pixels) -> tuple[Features, Features]:
        """The features and the last feature map (n, d, h, w), for class activation maps."""
        ...


class OnnxEngine:
    """ONNX Runtime on the processor.

    ``threads`` is the number of cores that one call uses. One thread a call and as many calls at a time as
    there are cores gives the most pictures a second (docs/performance.md: 280 against 225 on two cores); all
    cores on one call gives the quickest single answer.

    Raises
    ------
    ModelError
        When the backbone cannot be loaded.
    """

    precision = "fp32"

    def __init__(self, backbone: Path | bytes, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle engine threads must not burn the cores that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                backbone if isinstance(backbone, bytes) else str(backbone),
                options,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise ModelError(
                f"The backbone cannot be loaded by ONNX Runtime: {error}.",
                where=None if isinstance(backbone, bytes) else backbone,
                do="train the model again, or fetch an undamaged copy",
            ) from error
        self.name = f"onnxruntime-{'.'.join(onnxruntime.__version__.split('.')[:2])}"

    def check(self, size: int, width: int, where: object = None) -> None:
        """Make sure that pictures of ``size`` pixels and heads of ``width`` features fit, as far as the graph tells.

        Raises
        ------
        ModelError
            When they do not.
        """
        image_shape = self._session.get_inputs()[0].shape[1:3]
        feature_width = self._session.get_outputs()[0].shape[1]
        for what, wanted, there in (("pictures of size", size, image_shape[0]), ("features", width, feature_width)):
            if isinstance(there, int) and there != wanted:
                raise ModelError(
                    f"The model does not fit its backbone: {what} {wanted:,}, where the backbone has {there:,}.",
                    where=str(where) if where else None,
                    do="train the model again, or fetch an undamaged copy",
                )

    def features(self, pixels: Pixels) -> Features:
        """(n, size, size, 3) uint8 to (n, d) float32."""
        result: Features = self._session.run(["features"], {"images": pixels})[0]
        return result

    def features_and_map(self, pixels: Pixels) -> tuple[Features, Features]:
        """The features and the last feature map."""
        features, feature_map = self._session.run(["features", "feature_map"], {"images": pixels})
        return features, feature_map

    def activations(self, pixels: Pixels) -> Features:
        """Of a trunk (:func:`vizsla.models.export.trunk_to_onnx`): what passes on to the tail, (n, ...) float32."""
        result: Features = self._session.run(["activations"], {"images": pixels})[0]
        return result

    def shrink(self, pixels: Pixels) -> Features:
        """:meth:`features`, and give back the memory that calls have needed."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        result: Features = self._session.run(["features"], {"images": pixels}, options)[0]
        return result
