"""Templates to pages, and pages to what a notebook shows of them."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

_JPEG_QUALITY = 82
_MAIN = re.compile(r'<body class="vizsla"><main>(.*)</main></body>', re.DOTALL)
_ON_THE_PAGE_ONLY = re.compile(r"<!--page-->.*?<!--/page-->", re.DOTALL)


def render(template: str, **values: Any) -> str:
    """Fill a template of ``vizsla/reports/templates``; all text is escaped."""
    return _environment().get_template(template).render(**values)


def fragment(page: str) -> str | None:
    """What a notebook shows of a page: its headline and main sections, in a style that touches nothing else.

    None for a page of an earlier version, whose style would.
    """
    main = _MAIN.search(page)
    if main is None:
        return None
    return render("fragment.html.j2", content=Markup(_ON_THE_PAGE_ONLY.sub("", main[1])))


def fragment_of(path: Path) -> str | None:
    """:func:`fragment` of a stored page; None where there is none."""
    try:
        return fragment(path.read_text("utf-8", "replace"))
    except OSError:
        return None


def thumbnail(image: Image.Image, side: int = 160) -> str:
    """A picture as a ``data:`` address, its longer side at most ``side`` pixels."""
    small = image.copy()
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def percent(value: float, digits: int = 1) -> str:
    """0.8953 to '89.5 %'."""
    return f"{100 * value:.{digits}f} %"


def duration(seconds: float) -> str:
    """Seconds in words: '0.4 s', '12 s', '3 min 05 s', '2 h 10 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def count_of(number: int, noun: str) -> str:
    """1 and 'picture' to '1 picture', 3888 to '3,888 pictures', 2 and 'class' to '2 classes'."""
    plural = noun if number == 1 else noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {plural}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("vizsla.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "count_of": count_of}
    return environment
