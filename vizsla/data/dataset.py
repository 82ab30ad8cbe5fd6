"""The table of labelled pictures that everything else works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError, ImageError, SealedError
from vizsla.optional import data_frame
from vizsla.parameters import spelled

Split = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
"""The three splits; their positions are the codes in :attr:`Dataset.splits`."""

SEALED = -1
"""The label of a test picture in a sealed data set."""


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures in three splits, as columns.

    ``paths`` are relative to ``root``, with forward slashes; ``labels`` int32 positions in ``classes``;
    ``splits`` int8 positions in :data:`SPLITS`. ``notes`` tells in sentences what was decided or left out while
    reading. ``groups`` (int32, or None) tells which pictures belong together and must share a split; ``copies``
    the repaired copies of damaged pictures, by path; ``refused`` those that can be decoded and must not be used.
    ``is_sealed``: see :meth:`sealed`. ``layout`` says in words what the labels were read from.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    paths: Sequence[str]
    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]
    notes: tuple[str, ...] = field(default=())
    groups: npt.NDArray[np.int32] | None = None
    copies: Mapping[str, Path] = field(default_factory=dict)
    refused: Mapping[str, ImageError] = field(default_factory=dict)
    is_sealed: bool = False
    layout: str = ""

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
        return f"Dataset({self.name!r}, {len(self):,} pictures of {len(self.classes)} classes: {names})"

    def dataframe(self) -> Any:
        """A ``pandas.DataFrame`` of path, label and split; of a sealed data set, test pictures have no label.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        labels = [None if label == SEALED else self.classes[label] for label in self.labels.tolist()]
        splits = [SPLITS[code] for code in self.splits.tolist()]
        columns = ("path", "label", "split")
        rows = zip(self.paths, labels, splits, strict=True)
        return data_frame([dict(zip(columns, row, strict=True)) for row in rows], columns)

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, row: int) -> Path:
        """The file of one row: the picture itself, or the repaired copy of a damaged one.

        Raises
        ------
        ImageError
            For one that is refused: it is met where it would be read, as one that cannot be decoded is.
        """
        path = self.paths[row]
        if path in self.refused:
            raise self.refused[path]
        return self.copies[path] if self.copies and path in self.copies else self.root / path

    def __getitem__(self, row: int, /) -> Path:
        return self.path(row)

    def rows(self, split: Split) -> npt.NDArray[np.int64]:
        """The rows of one split, in table order.

        Raises
        ------
        SealedError
            For the test split of a sealed data set.
        """
        if self.is_sealed and split == "test":
            raise SealedError(
                "The test split is sealed: nothing that trains or tunes may read it.",
                where=self.root,
                allowed="train, valid",
                do="choose by the valid split; the evaluation at the end opens the test split once",
            )
        return np.flatnonzero(self.splits == SPLITS.index(split))

    def sealed(self) -> Dataset:
        """The same data set for training and tuning: asking for test rows is refused, and their labels are -1."""
        labels = self.labels.copy()
        labels[self.splits == SPLITS.index("test")] = SEALED
        return replace(self, labels=labels, is_sealed=True)

    def take(self, rows: npt.NDArray[np.int64]) -> Dataset:
        """The data set of some rows, in their order; the classes stay."""
        return replace(
            self,
            paths=[self.paths[int(row)] for row in rows],
            labels=self.labels[rows],
            splits=self.splits[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def counts(self, usable: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Pictures (only the ``usable`` ones, bool (n,)) by class and split, int64 of shape (classes, 3)."""
        if self.is_sealed:
            usable = (self.labels != SEALED) if usable is None else usable & (self.labels != SEALED)
        cell = self.labels * np.int64(3) + self.splits
        flat = np.bincount(cell if usable is None else cell[usable], minlength=3 * len(self.classes))
        return flat.reshape(len(self.classes), 3)

    def check(self, usable: npt.NDArray[np.bool_] | None = None) -> tuple[str, ...]:
        """Make sure that a classifier can be trained, and say what cannot be measured.

        ``usable`` (bool, (n,)) are the pictures that could be read; all by default.

        Returns
        -------
        Warnings, one sentence each: classes without a picture in the valid or test split.

        Raises
        ------
        DataError
            When there is no picture, a single class, or a class without a training picture.
        """
        counts = self.counts(usable)
        if not counts.any():
            raise DataError("There is no picture that can be used.", where=self.root)
        if len(self.classes) < 2:
            raise DataError(
                f"There is one class only: {self.classes[0]!r}. A classifier needs two or more to tell apart.",
                where=self.root,
                allowed="pictures of two or more classes",
                do="add pictures of something else, in a folder or under a label of their own",
            )
        for split in SPLITS[: 2 if self.is_sealed else 3]:
            if not counts[:, SPLITS.index(split)].any():
                self._refuse_groups(split, usable)
                raise DataError(
                    f"The {split} split is empty: no class has enough pictures (the largest, "
                    f"{self.classes[int(counts.sum(axis=1).argmax())]!r}, has {int(counts.sum(axis=1).max()):,}).",
                    where=self.root,
                    allowed="at least 3 pictures in a class that is to be split into train, valid and test",
                    do=f"add pictures, or put some into {split}/",
                )
        lacking = self._without(counts, "train")
        if lacking:
            raise DataError(
                f"No training picture for {_list(lacking)}.",
                where=self.root,
                allowed="at least one picture of every class in the train split",
                do="add pictures of the class to train/, or take its folders out of the other splits",
            )
        return tuple(
            f"No {split} picture for {_list(absent)}: "
            + ("nothing can be said about it." if split == "test" else "training cannot watch it.")
            for split in SPLITS[1 : 2 if self.is_sealed else 3]
            if (absent := self._without(counts, split))
        )

    def _refuse_groups(self, split: Split, usable: npt.NDArray[np.bool_] | None) -> None:
        """Tell when a split is empty because pictures are kept together, and not for want of pictures."""
        if self.groups is None:
            return
        rows = np.flatnonzero(np.ones(len(self), bool) if usable is None else usable)
        pictures = np.bincount(self.labels[rows], minlength=len(self.classes))
        pairs = np.unique(np.column_stack([self.labels[rows], self.groups[rows]]), axis=0)
        label = int(pictures.argmax())
        groups = int((pairs[:, 0] == label).sum())
        if pictures[label] < 3 or groups >= 3:
            return
        together = "one group" if groups == 1 else f"{groups} groups"
        raise DataError(
            f"The {split} split is empty: the {int(pictures[label]):,} pictures of {self.classes[label]!r} are kept "
            f"together as {together}, by {spelled('group_by')} or as copies of each other, and a group is never split.",
            where=self.root,
            allowed="at least 3 groups in a class that is to be split into train, valid and test",
            do=f"take copies of the same bytes away, choose {spelled('near_copies', 'off')} or a smaller distance for "
            f"near ones, group more finely, or put pictures into {split}/",
        )

    def _without(self, counts: npt.NDArray[np.int64], split: Split) -> list[str]:
        return [self.classes[i] for i in np.flatnonzero(counts[:, SPLITS.index(split)] == 0)]


def _list(names: list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more classes" if len(names) > most else "")
