"""Pictures of an unusual format, colour mode, size or shape, or odd in their file. Each kind is a row of a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.data.checks.facts import Check, Facts
from vizsla.data.inspection import MODES
from vizsla.data.remarks import REMARKS, STRAY_BYTES
from vizsla.findings import Finding, Severity
from vizsla.images.formats import ENDINGS, FORMATS

TINY_PIXELS = 32
HUGE_MEGAPIXELS = 40
EXTREME_ASPECT = 0.35
"""Shorter over longer side below which a picture is told (cleanvision's threshold for odd_aspect_ratio)."""

Mask = npt.NDArray[np.bool_]

_PLAIN = [MODES.index("RGB"), MODES.index("L")]


@dataclass(frozen=True)
class _Trait:
    id: str
    severity: Severity
    title: str
    words: str
    fix: str
    test: Callable[[Facts], Mask]
    detail: Callable[[Facts, int], str]


def _wrong_type(facts: Facts) -> Mask:
    code = {ending: FORMATS.index(name) for ending, name in ENDINGS.items()}
    paths = facts.dataset.paths
    expected = np.fromiter((code.get(os.path.splitext(path)[1].lower(), 255) for path in paths), np.uint8, len(paths))
    lies: Mask = (expected != 255) & (expected != facts.scan.records["format"])
    return lies


def _gray(facts: Facts) -> Mask:
    """Gray pictures, where they are the exception."""
    gray: Mask = facts.scan.records["mode"] == MODES.index("L")
    return gray if gray.mean() < 0.5 else np.zeros(len(gray), bool)


def _sides(facts: Facts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    width = facts.scan.records["width"].astype(np.int64)
    height = facts.scan.records["height"].astype(np.int64)
    return np.minimum(width, height), np.maximum(width, height)


def _size(facts: Facts, row: int) -> str:
    record = facts.scan.records[row]
    return f"{record['width']} x {record['height']} pixels"


_KINDS = (
    _Trait(
        "stray-bytes",
        "warning",
        "JPEGs with stray bytes before their end",
        "JPEGs have a few bytes that belong to nothing: some cameras write them so, some of these pictures are broken",
        "look at them; where a whole class has them, its camera tells the class",
        lambda facts: facts.scan.records["remark"] == STRAY_BYTES,
        lambda facts, row: REMARKS[STRAY_BYTES],
    ),
    _Trait(
        "odd-metadata",
        "info",
        "Broken metadata",
        "pictures can be read, but what is written beside the pixels is broken",
        "look whether they stand upright",
        lambda facts: facts.scan.records["remark"] > STRAY_BYTES,
        lambda facts, row: REMARKS[facts.scan.records["remark"][row]],
    ),
    _Trait(
        "wrong-type",
        "warning",
        "File names that lie about the format",
        "files are of another format than their name says",
        "rename them; other programs may refuse them",
        _wrong_type,
        lambda facts, row: f"is a {FORMATS[facts.scan.records['format'][row]]}",
    ),
    _Trait(
        "odd-mode",
        "info",
        "Unusual colour modes",
        "pictures are not plain RGB or gray; they are converted (transparency on white, CMYK and 16 bits to RGB)",
        "look whether the conversion shows what you mean",
        lambda facts: ~np.isin(facts.scan.records["mode"], _PLAIN),
        lambda facts, row: f"mode {MODES[facts.scan.records['mode'][row]]}",
    ),
    _Trait(
        "gray",
        "info",
        "Gray pictures among coloured ones",
        "pictures are gray while most are coloured",
        "make sure that gray does not tell the class",
        _gray,
        lambda facts, row: "mode L",
    ),
    _Trait(
        "animated",
        "info",
        "Animations",
        "files hold several pictures; the first is taken",
        "save the picture that you mean",
        lambda facts: facts.scan.records["animated"],
        lambda facts, row: "several frames",
    ),
    _Trait(
        "tiny",
        "warning",
        "Tiny pictures",
        f"pictures have a side below {TINY_PIXELS} pixels, too little to see anything",
        "replace them by larger ones",
        lambda facts: _sides(facts)[0] < TINY_PIXELS,
        _size,
    ),
    _Trait(
        "huge",
        "info",
        "Huge pictures",
        f"pictures have more than {HUGE_MEGAPIXELS} megapixels: slow to read, and nothing is gained",
        "scale them down once",
        lambda facts: np.prod(_sides(facts), axis=0) > HUGE_MEGAPIXELS * 1e6,
        _size,
    ),
    _Trait(
        "extreme-aspect",
        "warning",
        "Extreme shapes",
        f"pictures have sides in a ratio below {EXTREME_ASPECT}; most of them lies outside the middle that is used",
        "cut out the part that shows the thing",
        lambda facts: _sides(facts)[0] < EXTREME_ASPECT * _sides(facts)[1],
        _size,
    ),
)


def _check(kind: _Trait) -> Check:
    def check(facts: Facts) -> Finding | None:
        rows = np.flatnonzero(kind.test(facts) & facts.scan.seen)
        if not len(rows):
            return None
        files = facts.files(rows, lambda row: kind.detail(facts, row))
        evidence = f"{len(rows):,} of {len(facts.dataset):,} {kind.words}."
        return Finding(kind.id, kind.severity, kind.title, evidence, kind.fix, files)

    return check


CHECKS = tuple(_check(kind) for kind in _KINDS)
