"""The classes of some data against those of a model: matched by name, and never by guess."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError
from vizsla.evaluation.intervals import wilson
from vizsla.parameters import spelled

_NUMBER = re.compile(r"-?\d{1,18}")
_LETTERS = re.compile(r"^\d+[._ -]+(?=\D)|[^\w]|_")
_SHOWN = 5


def match_classes(labels: Sequence[str], classes: Sequence[str], where: object = None) -> npt.NDArray[np.int32]:
    """The position in ``classes`` of each picture's label, int32 (len(labels),).

    Raises
    ------
    DataError
        For labels that the model does not know. It says whether they are numbered or spelled otherwise, are those of
        another model, or hold classes that training had no picture of.

    Examples
    --------
    >>> match_classes(["rose", "tulip", "rose"], ["rose", "tulip"])
    array([0, 1, 0], dtype=int32)
    """
    counts = Counter(labels)
    unknown = [name for name in counts if name not in set(classes)]
    if unknown:
        raise _refusal(counts, unknown, classes, where)
    at = {name: i for i, name in enumerate(classes)}
    return np.fromiter((at[label] for label in labels), np.int32, len(labels))


def _refusal(counts: Counter[str], unknown: list[str], classes: Sequence[str], where: object) -> DataError:
    allowed = f"the model's classes: {_some(classes)}"
    shift = _shift(counts, classes)
    if shift:
        return DataError(
            f"The labels are shifted by {abs(shift)}: these data number their classes from {_range(counts)}, the model "
            f"from {_range(classes)}.",
            where=where,
            allowed=allowed,
            do=f"{'subtract' if shift > 0 else 'add'} {abs(shift)} {'from' if shift > 0 else 'to'} each label, or "
            "name the classes by words",
        )
    if all(map(_NUMBER.fullmatch, counts)) and not any(map(_NUMBER.fullmatch, classes)):
        return DataError(
            f"These data number their classes ({_some(sorted(counts))}), and the model names them.",
            where=where,
            allowed=allowed,
            do="put a list of names such as classes.txt beside the pictures, or write the names as labels",
        )
    spelling = {_plain(name): name for name in classes}
    pairs = [(name, spelling[_plain(name)]) for name in unknown if _plain(name) in spelling]
    if pairs:
        shown = ", ".join(f"{ours!r} for {theirs!r}" for ours, theirs in pairs[:_SHOWN])
        return DataError(
            f"The data spell {len(pairs):,} of their classes otherwise than the model: {shown}.",
            where=where,
            allowed=allowed,
            do="write them as the model does: classes are matched by name, to the letter",
        )
    if len(unknown) == len(counts):
        return DataError(
            f"These are labels of another model: none of {_some(sorted(counts))} is a class of this one.",
            where=where,
            allowed=allowed,
            do="name the data that belong to the model, or the model that belongs to the data",
        )
    pictures = sum(counts[name] for name in unknown)
    return DataError(
        f"Training had no picture of {_some(unknown)}, to which {pictures:,} of the {sum(counts.values()):,} pictures "
        "belong: the model cannot name them.",
        where=where,
        allowed=allowed,
        do=f"leave them out by {spelled('drop_classes', tuple(unknown[:_SHOWN]))}, or train with them",
    )


def check_shift(predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], classes: Sequence[str]) -> None:
    """Refuse numbered labels that the model would be right about far more often if each were one less or one more.

    Parameters
    ----------
    predicted, labels:
        Positions in ``classes``, (n,).

    Raises
    ------
    DataError
        When it would be: the labels are shifted, although each of them is the name of a class.
    """
    if not all(map(_NUMBER.fullmatch, classes)):
        return
    at = {int(name): i for i, name in enumerate(classes)}
    right = predicted == labels
    for step in (1, -1):
        moved = np.array([at.get(int(name) + step, -1) for name in classes])[labels]
        shifted = predicted == moved
        better, worse = int((shifted & ~right).sum()), int((right & ~shifted).sum())
        if shifted.mean() >= 2 * right.mean() and wilson(better, better + worse)[0] > 0.5:
            raise DataError(
                f"The labels are shifted by one: as they stand the model is right on {100 * right.mean():.1f} %, with "
                f"one {'added to' if step > 0 else 'subtracted from'} each on {100 * shifted.mean():.1f} %.",
                allowed=f"the numbers that the model was trained on: {_some(classes)}",
                do=f"{'add 1 to' if step > 0 else 'subtract 1 from'} each label, or name the classes by words",
            )


def _shift(counts: Counter[str], classes: Sequence[str]) -> int:
    """By how much the data's numbers lie above the model's; 0 where it is not that."""
    if not all(map(_NUMBER.fullmatch, [*counts, *classes])):
        return 0
    ours, theirs = {int(name) for name in counts}, {int(name) for name in classes}
    for step in (1, -1, min(ours) - min(theirs)):
        if step and {number - step for number in ours} <= theirs:
            return step
    return 0


def _range(names: Sequence[str] | Counter[str]) -> str:
    numbers = sorted(int(name) for name in names)
    return f"{numbers[0]} to {numbers[-1]}"


def _plain(name: str) -> str:
    """A name without its number, spaces, signs and capitals."""
    return _LETTERS.sub("", name.strip()).casefold()


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
