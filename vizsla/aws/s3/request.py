"""A request to S3 taken apart: bucket and key from host and path, fields, query."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vizsla.aws.errors import AwsError

_HOST = re.compile(r"(?P<bucket>[a-z0-9][a-z0-9.-]*?)\.(?:s3[.-].+|s3|localhost)", re.IGNORECASE)
_PATH_STYLE = re.compile(r"s3[.-].*|s3|localhost", re.IGNORECASE)
_METADATA = "x-amz-meta-"
_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")


@dataclass(frozen=True)
class Request:
    """``headers`` have lower-case names. ``bucket`` and ``key`` are empty where the path names none."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    scope: Any = field(repr=False, default=None)

    @property
    def resource(self) -> str:
        """What it is about, as errors tell it."""
        return f"/{self.bucket}/{self.key}" if self.bucket else "/"

    def number(self, name: str, default: int, most: int, least: int = 0) -> int:
        """A number of the query.

        Raises
        ------
        AwsError
            InvalidArgument.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise AwsError(
                "InvalidArgument",
                f"Argument {name} must be an integer between {least} and {most}, not {text[:50]!r}.",
            )
        return min(int(text), most)

    def kept_headers(self) -> dict[str, str]:
        """The headers that are given back with the object."""
        kept = {name: self.headers[name] for name in _KEPT if name in self.headers}
        encoding = [part.strip() for part in kept.get("content-encoding", "").split(",")]
        encoding = [part for part in encoding if part and part.lower() != "aws-chunked"]
        kept.pop("content-encoding", None)
        return kept | ({"content-encoding": ",".join(encoding)} if encoding else {})

    def user_metadata(self) -> dict[str, str]:
        """The ``x-amz-meta-`` headers, by the rest of their names.

        Raises
        ------
        AwsError
            MetadataTooLarge beyond 2 KB.
        """
        user = {name[len(_METADATA) :]: value for name, value in self.headers.items() if name.startswith(_METADATA)}
        if sum(len(name) + len(value.encode()) for name, value in user.items()) > 2048:
            raise AwsError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size, 2 KB.")
        return user


def request_of(scope: Any) -> Request:
    """From an ASGI scope.

    Raises
    ------
    AwsError
        InvalidURI for a path that is no UTF-8.
    """
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("utf-8", "replace").strip()
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    raw_path = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
    try:
        path = urllib.parse.unquote(raw_path.decode("ascii"), errors="strict")
        pairs = urllib.parse.parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI: it is not UTF-8, quoted.") from error
    bucket, key = bucket_of_host(headers.get("host", "")), path.removeprefix("/")
    if not bucket:
        bucket, _, key = key.partition("/")
    return Request(scope["method"], bucket, key, dict(pairs), headers, scope)


def bucket_of_host(host: str) -> str:
    """The bucket in ``photos.localhost:4566`` and ``photos.s3.us-east-1.amazonaws.com``."""
    name = host.rpartition(":")[0] if ":" in host else host
    if _PATH_STYLE.fullmatch(name):
        return ""
    match = _HOST.fullmatch(name)
    return match["bucket"].lower() if match else ""
