"""What decoders remark about pictures whose pixels are whole: few stray bytes, metadata that are broken."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

REMARKS = (
    "",
    "stray bytes before its end",
    "broken EXIF data: it may lie on its side",
    "a broken index of the pictures in it (MPO); the first is used",
    "broken frames (APNG); the first is used",
    "odd metadata",
)
"""What can be remarked; the positions are codes in stored records, 0 for nothing."""

STRAY_BYTES = 1

_PILLOW = ((re.compile("EXIF", re.I), 2), (re.compile("MPO"), 3), (re.compile("APNG"), 4), (re.compile(""), 5))

_heard = threading.local()


@contextmanager
def listening() -> Iterator[None]:
    """While this lasts, Pillow's warnings in any thread go to that thread's :func:`remark`; others go their way."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def hear(message: Warning | str, category: type[Warning], filename: str, *rest: object) -> None:
            if hasattr(_heard, "words"):
                _heard.words.append(str(message))
            else:
                show(message, category, filename, *rest)  # type: ignore[arg-type]

        warnings.filterwarnings("always", module=r"PIL\.")
        warnings.showwarning = hear  # type: ignore[assignment]
        yield


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Pillow's warnings in this thread, while :func:`listening` lasts."""
    words: list[str] = []
    _heard.words = words
    try:
        yield words
    finally:
        del _heard.words


def remark(words: list[str]) -> int:
    """The code of what Pillow warned of first; 0 for nothing."""
    return next((code for text in words for pattern, code in _PILLOW if pattern.search(text)), 0)
