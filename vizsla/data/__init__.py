"""From a source of labelled pictures to a checked, split table of them."""

from vizsla.data.dataset import SPLITS, Dataset, Split
from vizsla.data.sources import SourceOptions, list_source, open_dataset

__all__ = ["SPLITS", "Dataset", "SourceOptions", "Split", "list_source", "open_dataset"]
