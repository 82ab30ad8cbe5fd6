"""What scripts import from AWS's ``smdebug``, inside a job of Vizsla: the same names, harmless, recorded.

Losses, scalars and modes by step are written to ``output/debug`` of the job; ``smdebug.trials.create_trial`` reads
them. The names and their meanings: awslabs/sagemaker-debugger, docs/pytorch.md and docs/analysis.md.
"""

from smdebug.core.collection import CollectionKeys
from smdebug.core.modes import ModeKeys
from smdebug.core.modes import ModeKeys as modes  # noqa: N813 - the name that scripts import
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig, SaveConfigMode

__version__ = "1.0.34"

__all__ = ["CollectionKeys", "ModeKeys", "ReductionConfig", "SaveConfig", "SaveConfigMode", "__version__", "modes"]
