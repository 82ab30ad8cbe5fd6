"""What every operation is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from vizsla.aws.context import ACCOUNT, REGION
from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import xml
from vizsla.aws.s3.metadata import Metadata, http_date
from vizsla.aws.s3.objects import OpenObject
from vizsla.aws.s3.places import ensure_bucket, find_bucket
from vizsla.aws.s3.request import Request


@dataclass(frozen=True)
class Site:
    """What the door stands on; see :func:`vizsla.aws.s3.application`."""

    home: Path
    account: str = ACCOUNT
    region: str = REGION
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    make_buckets: bool = True


@dataclass(frozen=True)
class Content:
    """A body that has come, whole and checked, in an open file that has no name as an object yet."""

    path: Path
    file: int
    size: int
    md5: str
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Call:
    """One request. ``body`` is there for small documents, ``content`` for what becomes an object or a part."""

    site: Site
    request: Request
    body: bytes = b""
    content: Content | None = None

    @property
    def bucket(self) -> Path:
        """The bucket's folder.

        Raises
        ------
        AwsError
            NoSuchBucket.
        """
        return find_bucket(self.site.home, self.request.bucket)

    @cached_property
    def made_bucket(self) -> Path:
        """The bucket's folder for something that is written, made where there is none and the site says so.

        Raises
        ------
        AwsError
            InvalidBucketName, NoSuchBucket.
        """
        if not self.site.make_buckets:
            return self.bucket
        return ensure_bucket(self.site.home, self.request.bucket)

    @property
    def received(self) -> Content:
        """The content, in operations that take one."""
        if self.content is None:
            raise AwsError("MissingRequestBodyError", "Request body is empty.")
        return self.content


@dataclass(frozen=True)
class Answer:
    """A status, headers, and a body of bytes, of a range of an object's file, or of chunks from elsewhere."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: OpenObject | None = None
    start: int = 0
    count: int = 0
    chunks: Iterator[bytes] | None = None


Operation = Callable[[Call], Answer]
"""It may block. Raises AwsError, and :class:`~vizsla.aws.s3.conditions.NotModifiedError`."""


def document(name: str, tree: xml.Tree, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of XML."""
    return Answer(headers={"content-type": "application/xml", **(headers or {})}, body=xml.write(name, tree))


def object_headers(metadata: Metadata, modified: float) -> dict[str, str]:
    """The headers that tell of an object."""
    return {
        "etag": f'"{metadata.etag}"',
        "last-modified": http_date(modified),
        "accept-ranges": "bytes",
        "content-type": metadata.content_type,
        **{name: value for name, value in metadata.headers.items() if name != "content-type"},
        **{f"x-amz-meta-{name}": value for name, value in metadata.user.items()},
    }


def iso(seconds: float) -> str:
    """A time as S3's documents have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
