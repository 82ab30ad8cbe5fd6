"""From a source of labelled pictures to a split table of them."""

from vizsla.data.dataset import SPLITS, Dataset, Split
from vizsla.data.folders import read_folder

__all__ = ["SPLITS", "Dataset", "Split", "read_folder"]
