"""The seam between what is trained and all that follows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from vizsla.models.export import ExportedBackbone
from vizsla.models.weights import BackboneSpec
from vizsla.training.callbacks import Callback
from vizsla.training.head_data import HeadData
from vizsla.training.trained import TrainedHead


@dataclass(frozen=True)
class Frozen:
    """Where every trainer begins: a backbone as it was exported, and what it says of the training and validation
    pictures.

    ``source`` names the data set and the backbone in a form that other runs on the same have too; ``identity`` is
    SHA-256, in hexadecimal digits, over all that the features' bits follow from on one machine.
    """

    backbone: ExportedBackbone
    data: HeadData
    source: str
    identity: str


@dataclass(frozen=True)
class Training:
    """What a trainer made: a backbone (the same one, or a new one that was exported) and a head for its features.

    ``frozen`` is the head of the backbone as it was, where a new one was made: what to compare with. ``began`` is the
    backbone that it began with, where the trainer had several. ``remarks`` tell what was trained in vain.
    """

    backbone: ExportedBackbone
    trained: TrainedHead
    frozen: TrainedHead | None = None
    began: BackboneSpec | None = None
    remarks: tuple[str, ...] = ()


class Trainer(ABC):
    """Makes a classifier of a frozen backbone's features. What follows does not know which trainer ran: features of
    the backbone that comes back, evaluation, proof, saving and report.

    The life of one, in order: :meth:`train`, in ``folder``, where it finds what an attempt before a kill has left;
    :meth:`clear` once the model is saved.

    Parameters
    ----------
    folder:
        For checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    @abstractmethod
    def phase(self) -> tuple[str, int | None]:
        """The name of what takes the time, and its steps where they can be counted."""

    @abstractmethod
    def train(self, frozen: Frozen, callback: Callback) -> Training:
        """Train; started again in the same folder, it goes on.

        Raises
        ------
        VizslaError
            When training fails.
        """

    def clear(self) -> None:  # noqa: B027
        """Remove what a restart would go on from."""
