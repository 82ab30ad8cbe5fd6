"""Vizsla: the whole life of an image classifier, on your own machine.

>>> import vizsla
>>> result = vizsla.fit("photos", backbone="mobilenetv2_100")  # doctest: +SKIP
>>> result.load().predict("rose.jpg").label  # doctest: +SKIP
'rose'
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from vizsla.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from vizsla.api.bias import bias as bias
    from vizsla.api.check import check as check
    from vizsla.api.debug import debug as debug
    from vizsla.api.deploy import deploy as deploy
    from vizsla.api.evaluate import evaluate as evaluate
    from vizsla.api.explain import explain as explain
    from vizsla.api.fit import fit as fit
    from vizsla.api.profile import profile as profile
    from vizsla.api.registry import approve as approve
    from vizsla.api.registry import export as export
    from vizsla.api.registry import register as register
    from vizsla.api.registry import reject as reject
    from vizsla.api.serve import serve as serve
    from vizsla.api.train import train as train
    from vizsla.api.transform import transform as transform
    from vizsla.api.tune import tune as tune
    from vizsla.data.checks import Finding as Finding
    from vizsla.data.dataset import Dataset as Dataset
    from vizsla.data.gate import GateOptions as GateOptions
    from vizsla.data.sources import SourceOptions as SourceOptions
    from vizsla.data.sources import open_dataset as open_dataset
    from vizsla.errors import BudgetError as BudgetError
    from vizsla.errors import DataError as DataError
    from vizsla.errors import ImageError as ImageError
    from vizsla.errors import JobError as JobError
    from vizsla.errors import MissingExtraError as MissingExtraError
    from vizsla.errors import ModelError as ModelError
    from vizsla.errors import SealedError as SealedError
    from vizsla.errors import SourceError as SourceError
    from vizsla.errors import StorageError as StorageError
    from vizsla.errors import UsageError as UsageError
    from vizsla.errors import VizslaError as VizslaError
    from vizsla.errors import WeightsError as WeightsError
    from vizsla.evaluation import Estimate as Estimate
    from vizsla.evaluation import Evaluation as Evaluation
    from vizsla.jobs.inside import log_metric as log_metric
    from vizsla.jobs.result import JobResult as JobResult
    from vizsla.models.model import Model as Model
    from vizsla.models.model import Prediction as Prediction
    from vizsla.models.model import load as load
    from vizsla.serving.endpoint import Endpoint as Endpoint
    from vizsla.tuning.limits import SearchLimits as SearchLimits
    from vizsla.tuning.request import SearchRequest as SearchRequest
    from vizsla.tuning.result import SearchResult as SearchResult
    from vizsla.tuning.space import CategoricalParameter as CategoricalParameter
    from vizsla.tuning.space import ContinuousParameter as ContinuousParameter
    from vizsla.tuning.space import IntegerParameter as IntegerParameter
    from vizsla.tuning.space import Space as Space
    from vizsla.workflow.background_endpoint import BackgroundEndpoint as BackgroundEndpoint
    from vizsla.workflow.check import CheckResult as CheckResult
    from vizsla.workflow.debug import DebugResult as DebugResult
    from vizsla.workflow.profile import ProfileResult as ProfileResult
    from vizsla.workflow.request import FitResult as FitResult
    from vizsla.workflow.script_search import ScriptSearchResult as ScriptSearchResult
    from vizsla.workflow.transform_request import TransformResult as TransformResult
    from vizsla.workflow.tune import TuningJob as TuningJob
    from vizsla.workflow.tune import load_tuning as load_tuning

_NAMES = {
    "vizsla.api.bias": ("bias",),
    "vizsla.api.check": ("check",),
    "vizsla.api.evaluate": ("evaluate",),
    "vizsla.api.explain": ("explain",),
    "vizsla.api.debug": ("debug",),
    "vizsla.api.deploy": ("deploy",),
    "vizsla.api.fit": ("fit",),
    "vizsla.api.profile": ("profile",),
    "vizsla.api.registry": ("approve", "export", "register", "reject"),
    "vizsla.api.serve": ("serve",),
    "vizsla.api.train": ("train",),
    "vizsla.api.transform": ("transform",),
    "vizsla.api.tune": ("tune",),
    "vizsla.data.checks": ("Finding",),
    "vizsla.data.dataset": ("Dataset",),
    "vizsla.data.gate": ("GateOptions",),
    "vizsla.data.sources": ("SourceOptions", "open_dataset"),
    "vizsla.errors": (
        "BudgetError",
        "DataError",
        "ImageError",
        "JobError",
        "MissingExtraError",
        "ModelError",
        "SealedError",
        "SourceError",
        "StorageError",
        "UsageError",
        "VizslaError",
        "WeightsError",
    ),
    "vizsla.evaluation": ("Estimate", "Evaluation"),
    "vizsla.jobs.inside": ("log_metric",),
    "vizsla.jobs.result": ("JobResult",),
    "vizsla.models.model": ("Model", "Prediction", "load"),
    "vizsla.serving.endpoint": ("Endpoint",),
    "vizsla.tuning.limits": ("SearchLimits",),
    "vizsla.tuning.request": ("SearchRequest",),
    "vizsla.tuning.result": ("SearchResult",),
    "vizsla.tuning.space": ("CategoricalParameter", "ContinuousParameter", "IntegerParameter", "Space"),
    "vizsla.workflow.check": ("CheckResult",),
    "vizsla.workflow.debug": ("DebugResult",),
    "vizsla.workflow.profile": ("ProfileResult",),
    "vizsla.workflow.background_endpoint": ("BackgroundEndpoint",),
    "vizsla.workflow.request": ("FitResult",),
    "vizsla.workflow.script_search": ("ScriptSearchResult",),
    "vizsla.workflow.transform_request": ("TransformResult",),
    "vizsla.workflow.tune": ("TuningJob", "load_tuning"),
}
"""Where the public names live: imported when first used, so that ``import vizsla`` is quick and torch-free."""

_WHERE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'vizsla' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__


if os.environ.get("VIZSLA_JOB_DIR"):  # at once: a signal handler may log in the middle of the loop's own first import
    __getattr__("log_metric")
