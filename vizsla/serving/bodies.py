"""A request's body, whatever its content type, to pictures."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import tokenize
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from vizsla.serving.faults import RequestError

Picture = bytes | npt.NDArray[np.uint8]
"""A picture file's bytes, or its decoded pixels (height, width, 3)."""

FetchPictures = Callable[[Sequence[str]], Awaitable[list[bytes]]]
"""Gets the pictures behind the addresses of one request, in order."""

MAX_PICTURES = 256
"""Pictures in one request."""

MAX_LINKS = 16
"""Of them, those that are links to fetch."""

PICTURE_TYPES = frozenset(
    "image/jpeg image/jpg image/pjpeg image/png image/webp image/gif image/bmp image/x-ms-bmp image/tiff "
    "image/x-portable-anymap image/x-portable-pixmap image/x-portable-graymap image/x-portable-bitmap "
    "application/x-image image/* application/octet-stream".split()
)
"""Content types whose body is one picture file. What it really is, its own first bytes tell."""

BINARY_TYPES = (
    "image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/x-portable-anymap",
    "application/x-image", "application/octet-stream", "application/x-npy",
)  # fmt: skip
"""Content types of bodies of bytes that the service says it reads; the others are what clients write for them."""

_ALLOWED = ", ".join((*BINARY_TYPES, "application/json", "multipart/form-data"))


def is_json(content_type: str) -> bool:
    """Whether the body is said to be JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def refuse_encoding(encoding: str) -> None:
    """Refuse a body that is compressed on its way: pictures are compressed already, and nothing here unpacks.

    Raises
    ------
    RequestError
        ``body-encoding``.
    """
    if encoding.strip().lower() not in ("", "identity"):
        raise RequestError(
            "body-encoding",
            f"The body is compressed (Content-Encoding: {encoding[:100]}), and bodies are not unpacked here.",
            where="header Content-Encoding",
            allowed="identity",
            do="send the picture as it is: JPEG, PNG and WebP are compressed already",
        )


async def read_pictures(body: bytes, content_type: str, fetch: FetchPictures) -> tuple[list[Picture], bool]:
    """The pictures of a body, and whether it is of a kind that may hold several (the answer is then a list).

    Raises
    ------
    RequestError
        When the body is empty, malformed, of an unknown type or holds too many pictures.
    """
    media = content_type.partition(";")[0].strip().lower()
    if not body:
        raise RequestError("body-empty", "The request has no body.", allowed=_ALLOWED)
    if media in PICTURE_TYPES:
        return [body], False
    if media == "application/json":
        return await _from_json(body, fetch)
    if media == "multipart/form-data":
        return await _from_form(body, content_type)
    if media == "application/x-npy":
        return _from_npy(body)
    raise RequestError(
        "body-type",
        f"A body of type {content_type[:100]!r} cannot be read." if media else "The request names no Content-Type.",
        where="header Content-Type",
        allowed=_ALLOWED,
    )


async def _from_json(body: bytes, fetch: FetchPictures) -> tuple[list[Picture], bool]:
    marks = sum(map(body.count, (b",", b"[", b"{", b":")))
    if marks > _MAX_MARKS:  # millions of empty lists take seconds and 30 times their bytes
        raise RequestError(
            "body-malformed", f"The body is not JSON of pictures: it has {marks:,} elements.", allowed=_JSON_FORMS
        )
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            "body-malformed", f"The body is not JSON: {str(error)[:200]}.", allowed=_JSON_FORMS
        ) from error
    several = isinstance(document, dict) and ("images" in document or "instances" in document)
    entries = document.get("images", document.get("instances")) if several else [document]
    if not isinstance(entries, list) or not entries:
        raise RequestError("body-malformed", "The JSON names no picture.", allowed=_JSON_FORMS)
    _check_count(len(entries))
    urls = {place: entry["url"] for place, entry in enumerate(entries) if _is_link(entry)}
    if len(urls) > MAX_LINKS:
        raise RequestError(
            "too-many-pictures", f"The request holds {len(urls)} links.", allowed=f"at most {MAX_LINKS} a request"
        )
    sent = {place: _from_entry(entry, place) for place, entry in enumerate(entries) if place not in urls}
    fetched = dict(zip(urls, await fetch(list(urls.values())), strict=True)) if urls else {}
    return [sent[place] if place in sent else fetched[place] for place in range(len(entries))], several


def _is_link(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("url"), str) and "image" not in entry


_MAX_MARKS = 64 * MAX_PICTURES
"""Commas, colons and brackets in a JSON body: four a picture are needed."""

_JSON_FORMS = (
    '{"image": "<base64>"}, {"b64": "<base64>"}, {"url": "https://..."}, {"images": ["<base64>", ...]}, '
    '{"instances": [{"image": "<base64>"}, ...]}'
)


def _from_entry(entry: Any, place: int) -> bytes:
    if isinstance(entry, dict):
        entry = entry.get("image", entry.get("b64"))
    if not isinstance(entry, str):
        raise RequestError("body-malformed", f"Picture {place} of the JSON is no text.", allowed=_JSON_FORMS)
    text = entry.partition(",")[2] if entry.startswith("data:") else entry
    try:
        data = base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            "body-malformed", f"Picture {place} of the JSON is not base64: {error}.", allowed=_JSON_FORMS
        ) from error
    if not data:
        raise RequestError("empty", f"Picture {place} of the JSON is empty.")
    return data


async def _from_form(body: bytes, content_type: str) -> tuple[list[Picture], bool]:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if boundary and (parts := body.count(b"--" + boundary)) > 4 * MAX_PICTURES:
        _check_count(parts)
    if len(body) <= _AT_ONCE_BYTES:
        pictures = await _form_files(body, content_type)
    else:  # a body made of blanks takes seconds, in which others are answered
        pictures = await asyncio.to_thread(lambda: asyncio.run(_form_files(body, content_type)))
    if not pictures:
        raise RequestError("body-malformed", "The form holds no file.", allowed="one or more file parts")
    _check_count(len(pictures))
    return pictures, len(pictures) > 1


_AT_ONCE_BYTES = 256 * 1024


_FORMS = f"file parts, {MAX_PICTURES} at most, each with 8 short headers at most"
"""python-multipart refuses more headers than that, and longer ones than 4 KiB, from its version 0.0.31 on."""


async def _form_files(body: bytes, content_type: str) -> list[Picture]:
    async def stream() -> Any:
        yield body

    try:
        parser = MultiPartParser(
            Headers({"content-type": content_type}),
            stream(),
            max_files=MAX_PICTURES,
            max_fields=MAX_PICTURES,
            max_part_size=max(len(body), 1),
        )
        parser.spool_max_size = max(len(body), 1)  # the body is in memory already: nothing goes to the disk
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        words = str(error.__cause__ or getattr(error, "message", error))[:200].rstrip(".")
        raise RequestError("body-malformed", f"The form cannot be read: {words}.", allowed=_FORMS) from error
    pictures: list[Picture] = []
    for _, part in form.multi_items():
        if not isinstance(part, str):
            pictures.append(await part.read())
            await part.close()
    return pictures


_HEADER_FAULTS = (
    ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, OverflowError, tokenize.TokenError,
)  # fmt: skip
"""What numpy raises on a header that is none: it is parsed as a piece of Python."""


def _from_npy(body: bytes) -> tuple[list[Picture], bool]:
    """An array (n, height, width, 3) or (height, width, 3) of uint8 pixels.

    The header is checked against the bytes that are there before anything is allocated for it.
    """
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
    except _HEADER_FAULTS as error:
        raise RequestError("body-malformed", f"The body is no npy array: {str(error)[:200]}.") from error
    allowed = "uint8 of shape (n, height, width, 3) or (height, width, 3), in C order"
    if dtype != np.uint8 or fortran or len(shape) not in (3, 4) or shape[-1] != 3 or min(shape) < 1:
        order = "Fortran" if fortran else "C"
        raise RequestError("body-malformed", f"The array is {dtype} of shape {shape}, {order} order.", allowed=allowed)
    size, there = 1, len(body) - file.tell()
    for length in shape:
        size *= int(length)
    if size != there:
        raise RequestError("body-malformed", f"The array promises {size:,} bytes; {there:,} follow.", allowed=allowed)
    pixels = np.frombuffer(body, np.uint8, size, file.tell()).reshape(shape)
    if len(shape) == 3:
        return [pixels], False
    _check_count(shape[0])
    return list(pixels), True


def _check_count(count: int) -> None:
    if count > MAX_PICTURES:
        raise RequestError(
            "too-many-pictures",
            f"The request holds {count:,} pictures.",
            allowed=f"at most {MAX_PICTURES} a request",
            do="send several requests, or use a batch transform",
        )
