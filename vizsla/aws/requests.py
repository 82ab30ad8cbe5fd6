"""What all operations on named things share: names that are allowed, times, pages of a list."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from vizsla.aws.errors import invalid

NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9])*"
_PAGE = 10
"""Rows of a page where nobody says how many: AWS's."""
_LARGEST_PAGE = 100

Row = dict[str, Any]


def checked_name(request: dict[str, Any], field: str, longest: int = 63) -> str:
    """The name in a field of a request.

    Raises
    ------
    AwsError
        In AWS's words, when nothing can be called so.
    """
    name = request.get(field)
    member = field[:1].lower() + field[1:]
    if not isinstance(name, str):
        raise invalid(
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must not be null"
        )
    what = f"1 validation error detected: Value '{name[:200]}' at '{member}' failed to satisfy constraint: Member must "
    if len(name) > longest:
        raise invalid(f"{what}have length less than or equal to {longest}")
    if not re.fullmatch(NAME, name):
        raise invalid(f"{what}satisfy regular expression pattern: {NAME}")
    return name


def moment(text: str | float | None) -> datetime | None:
    """A time as it is kept (ISO 8601, or seconds since 1970), as one that is answered."""
    if text is None:
        return None
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text, UTC)
    return datetime.fromisoformat(text)


def now() -> str:
    """This moment as it is kept."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def present(members: dict[str, Any]) -> dict[str, Any]:
    """The members that have a value: what is absent is not answered as null."""
    return {name: value for name, value in members.items() if value is not None}


def page(
    rows: Iterable[Row], request: dict[str, Any], *, key: str, name: str | None, default_sort: str = "CreationTime"
) -> dict[str, Any]:
    """One page of a list, filtered and sorted as the request says.

    Parameters
    ----------
    rows:
        What is listed, with ``CreationTime`` and, where it has them, ``LastModifiedTime``, and a status.
    key:
        The member of the answer that holds the rows.
    name:
        The member of a row that is its name; None where the rows are chosen and in order already.

    Raises
    ------
    AwsError
        For a size or a token that no page has.
    """
    chosen = [row for row in rows if name is None or _fits(row, request, name)]
    if name is not None:
        by = request.get("SortBy") or default_sort
        descending = (request.get("SortOrder") or "Descending") == "Descending"
        chosen.sort(key=_sort_key(by, name), reverse=descending)
    start = _offset(request.get("NextToken"))
    size = _PAGE if request.get("MaxResults") is None else int(request["MaxResults"])
    if not 1 <= size <= _LARGEST_PAGE:
        bound = f"less than or equal to {_LARGEST_PAGE}" if size > 1 else "greater than or equal to 1"
        raise invalid(
            f"1 validation error detected: Value '{size}' at 'maxResults' failed to satisfy constraint: "
            f"Member must have value {bound}"
        )
    answer: dict[str, Any] = {key: chosen[start : start + size]}
    if start + size < len(chosen):
        answer["NextToken"] = base64.urlsafe_b64encode(str(start + size).encode()).decode()
    return answer


def _sort_key(by: str, name: str) -> Callable[[Row], tuple[Any, ...]]:
    def of(row: Row) -> tuple[Any, ...]:
        if by == "Status":
            return (status(row) or "", row[name])
        if by == "FinalObjectiveMetricValue":
            value = row.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
            return (value is not None, value or 0.0, row[name])
        if by in ("CreationTime", "LastModifiedTime"):
            return (_seconds(row.get(by) or row["CreationTime"]), row[name])
        return (row[name],)

    return of


def status(row: Row) -> str | None:
    """The state of a row, whatever its member is called."""
    return next((str(value) for member, value in row.items() if member.endswith("Status")), None)


_TIMES = {
    "CreationTimeAfter": ("CreationTime", 1),
    "CreationTimeBefore": ("CreationTime", -1),
    "CreatedAfter": ("CreationTime", 1),
    "CreatedBefore": ("CreationTime", -1),
    "LastModifiedTimeAfter": ("LastModifiedTime", 1),
    "LastModifiedTimeBefore": ("LastModifiedTime", -1),
}


def _fits(row: Row, request: dict[str, Any], name: str) -> bool:
    if (part := request.get("NameContains")) and part.lower() not in str(row[name]).lower():
        return False
    if (wanted := request.get("StatusEquals")) and wanted != status(row):
        return False
    for field, (member, sign) in _TIMES.items():
        if field in request and member in row and sign * (_seconds(row[member]) - _seconds(request[field])) <= 0:
            return False
    return True


def _seconds(value: datetime | float | str) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else float(value)


def _offset(token: str | None) -> int:
    if not token:
        return 0
    with contextlib.suppress(binascii.Error, ValueError):
        if (offset := int(base64.b64decode(token, altchars=b"-_", validate=True))) >= 0:
            return offset
    raise invalid("Invalid NextToken.")
