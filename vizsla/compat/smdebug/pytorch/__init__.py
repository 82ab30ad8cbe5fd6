"""``import smdebug.pytorch as smd``."""

from smdebug.core.collection import Collection, CollectionKeys
from smdebug.core.modes import ModeKeys
from smdebug.core.modes import ModeKeys as modes  # noqa: N813 - the name that scripts import
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig, SaveConfigMode
from smdebug.pytorch.hook import Hook
from smdebug.pytorch.singleton_utils import del_hook, get_hook, set_hook
from smdebug.trials import create_trial

__all__ = [
    "Collection",
    "CollectionKeys",
    "Hook",
    "ModeKeys",
    "ReductionConfig",
    "SaveConfig",
    "SaveConfigMode",
    "create_trial",
    "del_hook",
    "get_hook",
    "modes",
    "set_hook",
]
