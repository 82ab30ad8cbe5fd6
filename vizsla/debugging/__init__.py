"""What happens inside a training loop, recorded and judged.

>>> from vizsla.debugging import get_hook, modes
>>> hook = get_hook(create_if_not_exists=True)  # None outside a job  # doctest: +SKIP
"""

from vizsla.debugging.collections import Collection, CollectionKeys
from vizsla.debugging.hook import Hook
from vizsla.debugging.modes import ModeKeys
from vizsla.debugging.modes import ModeKeys as modes  # noqa: N813 - the name that scripts import
from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import SaveConfig, SaveConfigMode
from vizsla.debugging.singleton import del_hook, get_hook, set_hook
from vizsla.debugging.trial import Trial, create_trial

__all__ = [
    "Collection",
    "CollectionKeys",
    "Hook",
    "ModeKeys",
    "ReductionConfig",
    "SaveConfig",
    "SaveConfigMode",
    "Trial",
    "create_trial",
    "del_hook",
    "get_hook",
    "modes",
    "set_hook",
]
