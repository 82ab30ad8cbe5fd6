"""What the names of tables say."""

from __future__ import annotations

import posixpath
import re

from vizsla.data.dataset import Split
from vizsla.data.folders import SPLIT_FOLDERS

GATHERING = {*SPLIT_FOLDERS, *"image images img imgs photo photos picture pictures pic pics data dataset".split()}
"""Names, in lower case, of folders that gather pictures of any class."""


def is_without_labels(file: str) -> bool:
    """Whether a table's name says that its labels, if any, are none: ``sample_submission.csv``, ``predictions.csv``."""
    return bool(re.search(r"submission|prediction", posixpath.basename(file).lower()))


def split_and_rest(file: str) -> tuple[Split | None, str]:
    """The split that a table's name means, and the name without that word.

    >>> split_and_rest("data/train_labels.csv")
    ('train', 'data/_labels.csv')
    """
    folder, name = posixpath.split(file)
    words = re.split(r"([^a-z]+)", name.lower())
    marked = [word for word in words if word in SPLIT_FOLDERS]
    if len(marked) != 1:
        return None, file
    rest = "".join(word for word in words if word not in SPLIT_FOLDERS)
    return SPLIT_FOLDERS[marked[0]], posixpath.join(folder, rest)
