"""Inputs that hold several records: split into lines; and the picture that a line of JSON holds."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any

from vizsla.serving.faults import RequestError

_FORMS = '{"image": "<base64>"} or {"b64": "<base64>"}, or the base64 alone as a JSON text'


def split_lines(blocks: Iterable[bytes], most: int) -> Iterator[bytes | None]:
    """The lines of a file that comes block by block, without their ends; empty ones are passed over, and one that is
    longer than ``most`` bytes is None.

    >>> list(split_lines([b"a\\nbc", b"d\\n", b"\\nefghi"], 4))
    [b'a', b'bcd', None]
    """
    begun, too_long = bytearray(), False
    for block in blocks:
        *whole, rest = block.split(b"\n")
        for part in whole:
            begun += part
            if too_long or len(begun) > most:
                yield None
            elif line := bytes(begun.rstrip(b"\r")):
                yield line
            begun, too_long = bytearray(), False
        begun += rest
        if len(begun) > most:
            begun, too_long = bytearray(), True
    if too_long or len(begun) > most:
        yield None
    elif line := bytes(begun.rstrip(b"\r")):
        yield line


def picture_of(record: Any) -> bytes:
    """The bytes of the picture in a record of JSON.

    Raises
    ------
    RequestError
        ``body-malformed`` where there is none.
    """
    text = record.get("image", record.get("b64")) if isinstance(record, dict) else record
    if not isinstance(text, str):
        raise RequestError("body-malformed", "The record holds no picture.", allowed=_FORMS)
    text = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("body-malformed", f"The record's picture is not base64: {error}.", allowed=_FORMS) from error


def parse(line: bytes) -> Any:
    """The JSON of a line.

    Raises
    ------
    RequestError
        ``body-malformed``.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError("body-malformed", f"The record is not JSON: {error}.", allowed=_FORMS) from error
