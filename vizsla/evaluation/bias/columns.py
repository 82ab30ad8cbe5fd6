"""What a bias analysis reads of a table: columns, and which of their values make a group or a good outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError
from vizsla.evaluation.bias.analysis_config import Facet, Value

_FEW_NUMBERS = 10
"""So many different whole numbers may be categories; more are a quantity."""
_SHOWN = 8
_MOST_VALUES = 50

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """One column. ``texts`` are its cells as text; ``numbers`` float64 (n,), or None where not every cell is one."""

    name: str
    texts: npt.NDArray[np.str_]
    numbers: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, name: str, cells: Sequence[object]) -> Column:
        """From cells as they were read.

        Raises
        ------
        DataError
            When one is empty.
        """
        texts = ["" if cell is None or cell != cell else str(cell).strip() for cell in cells]  # NaN is no value
        if "" in texts:
            raise DataError(
                f"The column {name!r} is empty in {texts.count(''):,} rows, first in row {texts.index('') + 1}.",
                do="fill it in, or leave the rows out",
            )
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError:
            numbers = None
        if numbers is not None and (numbers == np.round(numbers)).all():
            texts = [str(int(number)) for number in numbers.tolist()]  # 1.0 is 1
        return cls(name, np.array(texts), numbers)

    @property
    def values(self) -> list[str]:
        """What occurs in it, in the order of numbers or of letters."""
        distinct = np.unique(self.texts).tolist()
        return distinct if self.numbers is None else sorted(distinct, key=float)

    @property
    def is_quantity(self) -> bool:
        """Whether its numbers measure something, and are not the names of a few categories."""
        if self.numbers is None:
            return False
        distinct = len(np.unique(self.numbers))
        return distinct > 2 and (distinct > _FEW_NUMBERS or bool((self.numbers != np.round(self.numbers)).any()))

    @property
    def is_ids(self) -> bool:
        """Whether its numbers are those by which classes are counted: whole ones from 0 or 1 on, without a gap."""
        if self.numbers is None or not self.is_whole:
            return False
        distinct = np.unique(self.numbers)
        return bool(distinct[0] in (0, 1) and len(distinct) == distinct[-1] - distinct[0] + 1)

    @property
    def is_whole(self) -> bool:
        """Whether all cells are whole numbers, as ids of classes are."""
        return self.numbers is not None and bool((self.numbers == np.round(self.numbers)).all())

    def among(self, values: Sequence[Value]) -> Bools:
        """Which rows have one of some values, bool (n,)."""
        return np.isin(self.texts, [_text(value) for value in values])


@dataclass(frozen=True)
class Group:
    """One group of rows: ``words`` for its value or threshold, ``rows`` bool (n,)."""

    words: str
    rows: Bools


def groups_of(facet: Facet, column: Column) -> list[Group]:
    """The groups that a facet asks for.

    A number that stands for a quantity is a threshold, and the group lies above it.

    Raises
    ------
    DataError
        For a quantity read as categories, a column of one value, a group without rows or of all rows.
    """
    wanted = facet.value_or_threshold
    given = list(wanted) if isinstance(wanted, list) else [] if wanted is None else [wanted]
    if len(column.values) == 1:
        raise DataError(
            f"The facet {column.name!r} has one value, {column.values[0]!r}: there are no two groups to compare.",
            where=f"column {column.name}",
            do="choose another column, or rows that differ in it",
        )
    if column.is_quantity:
        return [_above(column, given)]
    if not given:
        if len(column.values) > _MOST_VALUES:
            raise DataError(
                f"The facet {column.name!r} has {len(column.values):,} values: each would be a group of a few rows.",
                where=f"column {column.name}",
                do="name those that matter in value_or_threshold, or make fewer groups of them",
            )
        return [Group(value, column.among([value])) for value in column.values]
    return [_with_values(column, given)]


def _above(column: Column, given: Sequence[Value]) -> Group:
    assert column.numbers is not None
    low, high = column.numbers.min(), column.numbers.max()
    if len(given) != 1 or isinstance(given[0], str | bool):
        asked = f"the values {_some([_text(value) for value in given])}" if given else "each of its values"
        hit = int(column.among(given).sum()) if given else 0
        raise DataError(
            f"The facet {column.name!r} is a quantity of {len(column.values):,} different numbers, and {asked} would "
            f"be read as categories{f': {hit:,} of {len(column.texts):,} rows' if given else ''}.",
            where=f"facet {column.name}",
            allowed=f"one number between {low:g} and {high:g}: the group is what lies above it",
            do="give a threshold, or make a column of categories (few, middle, many) of it",
        )
    threshold = float(given[0])
    return _checked(Group(f"({threshold:g}, {high:g}]", column.numbers > threshold), column)


def _with_values(column: Column, given: Sequence[Value]) -> Group:
    if missing := [_text(value) for value in given if _text(value) not in column.values]:
        raise DataError(
            f"The facet {column.name!r} has no row with {_some(missing)}: the group is empty.",
            where=f"facet {column.name}",
            allowed=_some(column.values),
        )
    return _checked(Group(",".join(_text(value) for value in given), column.among(given)), column)


def _checked(group: Group, column: Column) -> Group:
    if not group.rows.any() or group.rows.all():
        state = "empty" if not group.rows.any() else "all rows"
        raise DataError(
            f"The group {group.words} of the facet {column.name!r} is {state}: there is nothing to compare.",
            where=f"facet {column.name}",
            do="choose another value or threshold",
        )
    return group


@dataclass(frozen=True)
class GoodOutcome:
    """Which labels are the good outcome: ``values`` of categories, or, where it ``is_threshold``, what lies above one.
    Decided by the labels, and so for the predictions, too, which may lack some of the values."""

    values: tuple[Value, ...]
    is_threshold: bool

    @classmethod
    def of(cls, label: Column, wanted: list[Value] | Value | None) -> GoodOutcome:
        """From ``label_values_or_threshold``. Numbers that count classes are categories, however many there are.

        Raises
        ------
        DataError
            When it is not said which outcome is good.
        """
        given = list(wanted) if isinstance(wanted, list) else [] if wanted is None else [wanted]
        if not given:
            if len(label.values) != 2:
                raise DataError(
                    f"The label {label.name!r} has {len(label.values)} values, and which of them is the good outcome "
                    "is not said.",
                    where="label_values_or_threshold",
                    allowed=f"one or more of {_some(label.values)}",
                )
            given = [label.values[1]]
        is_number = len(given) == 1 and not isinstance(given[0], str | bool)
        return cls(tuple(given), is_number and label.is_quantity and not label.is_ids)

    def rows(self, column: Column, probability: float | None = None) -> Bools:
        """Which rows have it, bool (n,). Where the column holds probabilities of it, those above ``probability``.

        Raises
        ------
        DataError
            When it is a threshold and the column holds no numbers.
        """
        if probability is not None and column.is_quantity and column.numbers is not None and _in_unit(column.numbers):
            return column.numbers > probability
        if not self.is_threshold:
            return column.among(self.values)
        if column.numbers is None:
            raise DataError(
                f"The good outcome is a label above {self.values[0]}, and {column.name!r} holds no numbers.",
                where=f"column {column.name}",
                do="write numbers there, as the label has them",
            )
        return column.numbers > float(self.values[0])


def check_domains(label: Column, predicted: Column) -> None:
    """Refuse predictions whose ids are not those of the labels.

    Raises
    ------
    DataError
        When they have nothing in common, or are the labels' ids shifted.
    """
    if predicted.is_quantity and predicted.numbers is not None and _in_unit(predicted.numbers):
        return  # probabilities
    ours, theirs = set(label.values), set(predicted.values)
    if label.is_whole and predicted.is_whole and label.numbers is not None and predicted.numbers is not None:
        agree = float((label.numbers == predicted.numbers).mean())
        for step in (1, -1):
            shifted = float((label.numbers == predicted.numbers + step).mean())
            # Of many ids, which may also be a quantity, most must fit.
            if not theirs <= ours and shifted > agree and (not label.is_quantity or shifted > 0.5):
                raise DataError(
                    f"The predicted ids are shifted by one: {_ends(predicted)} where the labels run {_ends(label)}. As "
                    f"they stand they agree in {100 * agree:.1f} % of the rows, with one "
                    f"{'added' if step > 0 else 'subtracted'} in {100 * shifted:.1f} %.",
                    where=f"columns {label.name} and {predicted.name}",
                    do=f"{'add 1 to' if step > 0 else 'subtract 1 from'} the predictions, or name the classes",
                )
    if not ours & theirs:
        raise DataError(
            f"Labels and predictions have no value in common: {_some(label.values)} and {_some(predicted.values)}.",
            where=f"columns {label.name} and {predicted.name}",
            do="write both with the same names: these are labels of another model",
        )
    counts = Counter(predicted.texts.tolist())
    if unseen := [value for value in counts if value not in ours]:
        share = sum(counts[value] for value in unseen) / len(predicted.texts)
        if share > 0.5:
            raise DataError(
                f"{100 * share:.0f} % of the predictions are values that no label has: {_some(unseen)}.",
                where=f"columns {label.name} and {predicted.name}",
                allowed=_some(label.values),
                do="check that the predictions belong to these rows",
            )


def find_column(names: Sequence[str], wanted: str | int, where: str) -> str:
    """The column that is meant, by its name or its position from 0.

    Raises
    ------
    DataError
        When there is none.
    """
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return names[wanted]
    if str(wanted) in names:
        return str(wanted)
    raise DataError(f"The table has no column {wanted!r}.", where=where, allowed=", ".join(names))


def table_columns(cells: Mapping[str, Sequence[object]], names: Sequence[str]) -> dict[str, Column]:
    """Some columns of a table, read."""
    return {name: Column.of(name, cells[name]) for name in dict.fromkeys(names)}


def _in_unit(numbers: npt.NDArray[np.float64]) -> bool:
    return bool(numbers.min() >= 0 and numbers.max() <= 1)


def _text(value: Value) -> str:
    if isinstance(value, float) and value == round(value):
        return str(int(value))
    return str(value)


def _ends(column: Column) -> str:
    return f"{column.values[0]} to {column.values[-1]}"


def _some(values: Sequence[str]) -> str:
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
