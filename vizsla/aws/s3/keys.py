"""How the key of an object becomes the name of a file, and back.

A key is cut at ``/`` and each part is a file's or folder's name, as it is, so that a job reads the folder it expects.
What cannot be a name gets a prefix that no other name may have:

=================================  ====================================================================
part of a key                      name of the file or folder
=================================  ====================================================================
empty (``a//b``, ``/a``, ``a/``)   ``.s3=``
begins with ``.s3=``, ``.s3@``..   ``.s3=`` and the part
a file where a folder is           ``.s3@`` and the part, beside it (``a`` where ``a/b`` is, too)
=================================  ====================================================================

``.`` and ``..``, characters below a blank, and parts of more than 247 bytes are refused.
"""

from __future__ import annotations

import re

from vizsla.aws.errors import AwsError

ESCAPE = ".s3="
BESIDE = ".s3@"
INNER = ".s3~"
"""Begins the names of folders that are the door's own."""

_RESERVED = (ESCAPE, BESIDE, INNER)
_LONGEST_PART = 247
"""Names have 255 bytes on most disks; two prefixes may come before."""
_LONGEST_KEY = 1024
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def names_of(key: str) -> tuple[str, ...]:
    """The names of the folders and the file of ``key``, from the bucket on.

    Raises
    ------
    AwsError
        KeyTooLongError or InvalidArgument, for what cannot be a file below the bucket.
    """
    size = len(key.encode())
    if size > _LONGEST_KEY:
        raise AwsError("KeyTooLongError", f"Your key is too long: {size} bytes, {_LONGEST_KEY} are allowed.")
    parts = key.split("/")
    for part in parts:
        if part in (".", ".."):
            raise AwsError("InvalidArgument", f"A part of a key may not be {part!r}: objects are files here ({key!r}).")
        if len(part.encode()) > _LONGEST_PART:
            raise AwsError(
                "KeyTooLongError",
                f"A part of the key between slashes has {len(part.encode())} bytes; objects are files here, "
                f"and {_LONGEST_PART} are allowed.",
            )
    if _CONTROL.search(key):
        raise AwsError("InvalidArgument", f"A key may hold no control characters: objects are files here ({key!r}).")
    return tuple(_name(part) for part in parts)


def _name(part: str) -> str:
    return ESCAPE + part if not part or part.startswith(_RESERVED) else part


def part_of(name: str) -> str | None:
    """The part of a key that a file's or folder's name stands for; None for what stands for none."""
    if name.startswith(BESIDE):
        return part_of(name[len(BESIDE) :])
    if name.startswith(INNER):
        return None
    name = name.removeprefix(ESCAPE)
    try:
        name.encode()
    except UnicodeEncodeError:  # a name that is no UTF-8: no answer could hold it
        return None
    return name
