"""Vizsla: the whole life of an image classifier, on your own machine.

>>> import vizsla
>>> result = vizsla.fit("photos", backbone="mobilenetv2_100")
>>> vizsla.load(result.model).predict("rose.jpg").label
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from vizsla.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from vizsla.api import fit as fit
    from vizsla.api import train as train
    from vizsla.api import tune as tune
    from vizsla.data.dataset import Dataset as Dataset
    from vizsla.data.gate import GateOptions as GateOptions
    from vizsla.data.sources import SourceOptions as SourceOptions
    from vizsla.data.sources import open_dataset as open_dataset
    from vizsla.jobs.inside import log_metric as log_metric
    from vizsla.models.model import Model as Model
    from vizsla.models.model import Prediction as Prediction
    from vizsla.models.model import load as load
    from vizsla.tuning.space import CategoricalParameter as CategoricalParameter
    from vizsla.tuning.space import ContinuousParameter as ContinuousParameter
    from vizsla.tuning.space import IntegerParameter as IntegerParameter
    from vizsla.workflow.tune import load_tuning as load_tuning

_WHERE = {
    "fit": "vizsla.api",
    "train": "vizsla.api",
    "tune": "vizsla.api",
    "load_tuning": "vizsla.workflow.tune",
    "CategoricalParameter": "vizsla.tuning.space",
    "ContinuousParameter": "vizsla.tuning.space",
    "IntegerParameter": "vizsla.tuning.space",
    "load": "vizsla.models.model",
    "Dataset": "vizsla.data.dataset",
    "GateOptions": "vizsla.data.gate",
    "SourceOptions": "vizsla.data.sources",
    "open_dataset": "vizsla.data.sources",
    "log_metric": "vizsla.jobs.inside",
    "Model": "vizsla.models.model",
    "Prediction": "vizsla.models.model",
}
"""Public names and where they live: imported when first used, so that ``import vizsla`` is quick and torch-free."""

__all__ = [
    "CategoricalParameter",
    "ContinuousParameter",
    "Dataset",
    "GateOptions",
    "IntegerParameter",
    "Model",
    "Prediction",
    "SourceOptions",
    "__version__",
    "fit",
    "load",
    "load_tuning",
    "log_metric",
    "open_dataset",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'vizsla' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__


if os.environ.get("VIZSLA_JOB_DIR"):  # at once: a signal handler may log in the middle of the loop's own first import
    __getattr__("log_metric")
