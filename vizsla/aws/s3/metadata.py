"""What S3 knows of an object beside its bytes: ETag, content type, metadata, checksums.

It is kept in an extended attribute of the file, so that it is written, replaced, renamed and removed with it, and no
file of ours lies beside the user's. A file that a job wrote, or changed since, has none: its ETag is then made of its
time, size and number, and looks like that of an upload in parts (``...-1``), which nobody takes for an MD5.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mimetypes
import os
from dataclasses import dataclass, field
from email.utils import formatdate

from vizsla.aws.errors import AwsError

_ATTRIBUTE = "user.vizsla.s3"
_NOT_HERE = {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENOSYS}
"""The disk keeps no attributes."""
_TOO_MUCH = {errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EDQUOT}
DEFAULT_TYPE = "binary/octet-stream"


@dataclass(frozen=True)
class Metadata:
    """``headers`` are those of HTTP that are given back (lower case), ``user`` those of ``x-amz-meta-``, ``checksums``
    base64 by algorithm (lower case)."""

    etag: str
    headers: dict[str, str] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        """The type of the content."""
        return self.headers.get("content-type", DEFAULT_TYPE)


def keep(file: int, metadata: Metadata) -> None:
    """Write an open file's metadata. All of its bytes are written by now.

    Raises
    ------
    AwsError
        MetadataTooLarge, or NotImplemented where the disk keeps none and the client sent some.
    """
    stat = os.fstat(file)
    value = {
        "mtime": stat.st_mtime_ns,
        "size": stat.st_size,
        "etag": metadata.etag,
        "headers": metadata.headers,
        "user": metadata.user,
        "checksums": metadata.checksums,
    }
    text = json.dumps({name: item for name, item in value.items() if item or name == "size"}, separators=(",", ":"))
    try:
        os.setxattr(file, _ATTRIBUTE, text.encode())
    except OSError as error:
        if error.errno in _TOO_MUCH and len(text) > 2048:
            raise AwsError(
                "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size."
            ) from error
        if error.errno not in _NOT_HERE:
            raise
        if metadata.user:
            raise AwsError(
                "NotImplemented",
                "This bucket's disk keeps no extended attributes, so that x-amz-meta- headers cannot be kept.",
                501,
            ) from error


def read(file: int | str, stat: os.stat_result, name: str = "") -> Metadata:
    """The metadata of a file, open or by its path. ``name`` tells the type of one that has none."""
    found = kept(file, stat)
    if found is None:
        guess = mimetypes.guess_type(name)[0]
        found = Metadata(_etag_of(stat), {"content-type": guess} if guess else {})
    return found


def kept(file: int | str, stat: os.stat_result) -> Metadata | None:
    """What was kept with a file; None where nothing was, or the file was changed since."""
    try:
        value = json.loads(os.getxattr(file, _ATTRIBUTE))
        if value["mtime"] != stat.st_mtime_ns or value["size"] != stat.st_size:
            return None
        return Metadata(value["etag"], value.get("headers", {}), value.get("user", {}), value.get("checksums", {}))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _etag_of(stat: os.stat_result) -> str:
    facts = f"{stat.st_dev} {stat.st_ino} {stat.st_mtime_ns} {stat.st_size}"
    return hashlib.md5(facts.encode(), usedforsecurity=False).hexdigest() + "-1"


def http_date(seconds: float) -> str:
    """A time as HTTP has it."""
    return formatdate(seconds, usegmt=True)
