"""Linear heads on frozen features: to the optimum of their problem, or in steps; many configurations at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vizsla.errors import UsageError
from vizsla.optional import require
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.config import HeadConfig, LbfgsConfig, StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.optimum import train_to_optimum
from vizsla.training.steps import train_in_steps
from vizsla.training.trained import OnEpoch, TrainedHead


def train_heads(
    data: HeadData,
    configs: Sequence[HeadConfig],
    on_epoch: OnEpoch = lambda metrics: None,
    checkpoint: Checkpoint | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[TrainedHead]:
    """Train one head for each configuration.

    Deterministic: the same data, configurations and machine give the same bits, also from a checkpoint.

    Parameters
    ----------
    checkpoint:
        Keeps the state of a single head's training in steps, which goes on from it.
    stop:
        Asked after each step: a batch, whose epoch is the last one then, or an iteration on the way to an optimum.

    Returns
    -------
    The trained heads, in the order of ``configs``.

    Raises
    ------
    UsageError
        For a checkpoint of several heads.
    """
    if checkpoint is not None and len(configs) != 1:
        raise UsageError(
            f"A checkpoint cannot hold {len(configs)} heads.", where="parameter checkpoint", allowed="a single head"
        )
    steps = {i: config for i, config in enumerate(configs) if isinstance(config, StepConfig)}
    optima = {i: config for i, config in enumerate(configs) if isinstance(config, LbfgsConfig)}
    trained: dict[int, TrainedHead] = {}
    # The products are small: threads waiting for each other cost more than they give, on a busy machine 20 to 40 x.
    with require("threadpoolctl", extra="train", feature="Training heads").threadpool_limits(1, "blas"):
        trained |= train_in_steps(data, steps, on_epoch, checkpoint, stop)
        trained |= train_to_optimum(data, optima, on_epoch, stop)
    return [trained[i] for i in range(len(configs))]
