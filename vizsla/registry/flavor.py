"""How MLflow loads a registered model: ``mlflow.pyfunc.load_model("models:/dogs@champion").predict(table)``.

MLflow calls :func:`_load_pyfunc` with the folder of the saved model (its ``loader_module``).
"""

from __future__ import annotations

import base64
import os
from typing import Any

import numpy as np

from vizsla.models.model import load
from vizsla.optional import require

COLUMN = "image"


class Classifier:
    """Answers a table with a column ``image``: bytes, base64 text or the path of a picture a row."""

    def __init__(self, folder: str) -> None:
        self._model = load(folder)

    def predict(self, table: Any, params: dict[str, Any] | None = None) -> Any:
        """A data frame of ``label``, ``probability`` and ``probabilities`` (in class order), a row a picture."""
        pandas = require("pandas", extra="track", feature="MLflow's door to a model")
        column = table[COLUMN] if COLUMN in table else table.iloc[:, 0]
        answers = [self._model.predict(_picture(value), top_k=1) for value in column]
        rows = [(a.label, a.probability, a.probabilities.astype(np.float64).tolist()) for a in answers]
        return pandas.DataFrame(rows, columns=["label", "probability", "probabilities"])


def _picture(value: Any) -> bytes | str:
    if isinstance(value, str) and not os.path.exists(value):
        return base64.b64decode(value, validate=True)
    return value if isinstance(value, str) else bytes(value)


def _load_pyfunc(folder: str) -> Classifier:
    return Classifier(folder)
