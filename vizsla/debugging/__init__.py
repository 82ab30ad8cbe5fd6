"""What happens inside a training loop, recorded and judged.

>>> from vizsla.debugging import get_hook, modes
>>> hook = get_hook(create_if_not_exists=True)  # None outside a job  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vizsla.debugging.collections import Collection as Collection
    from vizsla.debugging.collections import CollectionKeys as CollectionKeys
    from vizsla.debugging.evaluation import Evaluation as Evaluation
    from vizsla.debugging.evaluation import evaluate as evaluate
    from vizsla.debugging.finding import RuleFinding as RuleFinding
    from vizsla.debugging.hook import Hook as Hook
    from vizsla.debugging.mode_keys import ModeKeys as ModeKeys
    from vizsla.debugging.reductions import ReductionConfig as ReductionConfig
    from vizsla.debugging.rules.base import Rule as Rule
    from vizsla.debugging.save_config import SaveConfig as SaveConfig
    from vizsla.debugging.save_config import SaveConfigMode as SaveConfigMode
    from vizsla.debugging.singleton import del_hook as del_hook
    from vizsla.debugging.singleton import get_hook as get_hook
    from vizsla.debugging.singleton import set_hook as set_hook
    from vizsla.debugging.trial import Trial as Trial
    from vizsla.debugging.trial import create_trial as create_trial

    modes = ModeKeys

_NAMES = {
    "collections": ("Collection", "CollectionKeys"),
    "evaluation": ("Evaluation", "evaluate"),
    "finding": ("RuleFinding",),
    "hook": ("Hook",),
    "mode_keys": ("ModeKeys",),
    "reductions": ("ReductionConfig",),
    "rules.base": ("Rule",),
    "save_config": ("SaveConfig", "SaveConfigMode"),
    "singleton": ("del_hook", "get_hook", "set_hook"),
    "trial": ("Trial", "create_trial"),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names} | {"modes": "mode_keys"}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_WHERE[name]}")
    value = globals()[name] = getattr(module, "ModeKeys" if name == "modes" else name)
    return value
