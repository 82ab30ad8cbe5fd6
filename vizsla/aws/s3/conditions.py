"""Conditional requests (RFC 9110, section 13): on reading, on writing, and on the source of a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from vizsla.aws.errors import AwsError

_SOURCE = "x-amz-copy-source-"


class NotModifiedError(Exception):
    """The client has it already."""


def check_read(headers: Mapping[str, str], etag: str, modified: float) -> None:
    """Whether an object may be given.

    Raises
    ------
    AwsError
        PreconditionFailed.
    NotModifiedError
        For 304.
    """
    if "if-match" in headers:
        if not _names(headers["if-match"], etag):
            raise failed("If-Match")
    elif (since := _seconds(headers.get("if-unmodified-since"))) is not None and int(modified) > since:
        raise failed("If-Unmodified-Since")
    if "if-none-match" in headers:
        if _names(headers["if-none-match"], etag):
            raise NotModifiedError
    elif (since := _seconds(headers.get("if-modified-since"))) is not None and int(modified) <= since:
        raise NotModifiedError


def check_source(headers: Mapping[str, str], etag: str, modified: float) -> None:
    """Whether an object may be copied.

    Raises
    ------
    AwsError
        PreconditionFailed.
    """
    named = {name[len(_SOURCE) :]: value for name, value in headers.items() if name.startswith(_SOURCE)}
    try:
        check_read(named, etag, modified)
    except NotModifiedError as error:
        raise failed("x-amz-copy-source-if-") from error


def of_write(headers: Mapping[str, str]) -> Callable[[str | None], None] | None:
    """What says whether an object may be written where there is one of that ETag, or none; None where all may.

    What it raises is PreconditionFailed or NoSuchKey.
    """
    if "if-match" in headers or "if-none-match" in headers:
        return lambda etag: _check_write(headers, etag)
    return None


def _check_write(headers: Mapping[str, str], etag: str | None) -> None:
    if "if-none-match" in headers:
        if headers["if-none-match"].strip() != "*":
            raise AwsError("NotImplemented", "If-None-Match of a write takes '*' alone.", 501)
        if etag is not None:
            raise failed("If-None-Match")
    if "if-match" in headers:
        if etag is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
        if not _names(headers["if-match"], etag):
            raise failed("If-Match")


def failed(condition: str) -> AwsError:
    """The refusal."""
    return AwsError(
        "PreconditionFailed", f"At least one of the pre-conditions you specified did not hold: {condition}.", 412
    )


def _names(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags


def _seconds(date: str | None) -> float | None:
    if not date:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:  # a date that is none is passed over (RFC 9110, 13.1.3)
        return None
