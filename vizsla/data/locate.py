"""Which picture a table means: by its path, or by its name, or by an id without ending."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
import urllib.parse
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property

from vizsla.data.contents import Contents
from vizsla.data.dataset import Split
from vizsla.data.split_names import split_of_path
from vizsla.images.formats import ENDINGS

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a picture that was uploaded."""
_UPLOADS = re.compile(r"/data/upload/\d+/")
"""Where Label Studio keeps the uploaded pictures of a project, by its number."""

_NUMBER = re.compile(r"[0-9]{1,18}")


class Locator:
    """Finds the pictures of a folder that others have named.

    >>> Locator(Contents(Path("."), ("train/a1.jpg", "train/b2.jpg"), ())).find("b2")  # doctest: +SKIP
    ['train/b2.jpg']
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._paths = frozenset(contents.pictures)

    def find(self, name: str, folder: str = "", split: Split | None = None) -> list[str]:
        """The pictures that ``name`` may mean: one, several where it could be any of them, none where it is not there.

        Tried in turn: the path from ``folder`` and from the root; the name in any folder, the one with the longest
        end of the path in common; the name without its ending; the name that it had before it was uploaded; the number
        that it is. Of
        several, those in a folder of the ``split`` are meant, and else those in train. Where the last folder of the
        path is one that lies here, no other folder is looked in: ``cat/001.jpg`` is not ``dog/001.jpg``.
        """
        name = _plain(name)
        for path in (posixpath.normpath(posixpath.join(folder, name)), posixpath.normpath(name)):
            if path in self._paths:
                return [path]
        parent = _parent(name)
        for candidates in self._candidates(posixpath.basename(name)):
            if parent in self._folders:
                candidates = [path for path in candidates if _parent(path) == parent]
            if candidates:
                return _narrow(candidates, name, split)
        return []

    def _candidates(self, name: str) -> tuple[list[str], ...]:
        original = _UPLOAD.sub("", name, count=1)
        index = self._names if os.path.splitext(name)[1].lower() in ENDINGS else self._stems
        number = self._numbers.get(int(name), []) if _NUMBER.fullmatch(name) else []
        return index.get(_alike(name), []), index.get(_alike(original), []), number

    @cached_property
    def _folders(self) -> frozenset[str]:
        return frozenset(parent for path in self._contents.pictures if (parent := _parent(path)))

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return self._by(lambda name: name)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        return self._by(lambda name: posixpath.splitext(name)[0])

    def _by(self, part: Callable[[str], str]) -> dict[str, list[str]]:
        """The pictures by a part of their names, whatever its case."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in self._contents.pictures:
            paths[_alike(part(posixpath.basename(path)))].append(path)
        return dict(paths)

    @cached_property
    def _numbers(self) -> dict[int, list[str]]:
        """By names that are numbers: a table may have lost the zeros before them."""
        numbers: dict[int, list[str]] = defaultdict(list)
        for stem, paths in self._stems.items():
            if _NUMBER.fullmatch(stem):
                numbers[int(stem)] += paths
        return dict(numbers)


def tame(name: str) -> str:
    """A relative path inside the folder, for a picture that is not there."""
    return "/".join(part for part in _plain(name).split("/") if part not in ("", ".", ".."))


def _parent(path: str) -> str:
    """The name of the folder that a path ends in, to compare."""
    return _alike(posixpath.basename(posixpath.dirname(path)))


def _alike(name: str) -> str:
    """Names that differ only by case or by Unicode's forms of a letter are one."""
    return unicodedata.normalize("NFC", name).lower()


def _plain(name: str) -> str:
    """The path in an address; Label Studio names local files behind ``?d=``."""
    name = name.strip().replace("\\", "/")
    if "://" in name or name.startswith("/data/local-files/"):
        parts = urllib.parse.urlsplit(name)
        behind = urllib.parse.parse_qs(parts.query).get("d")
        name = behind[0] if behind else urllib.parse.unquote(parts.path)
    return _UPLOADS.sub("", name)


def _narrow(candidates: list[str], name: str, split: Split | None) -> list[str]:
    if len(candidates) == 1:
        return candidates
    parts = name.split("/")[-2::-1]
    common = [_common(path.split("/")[-2::-1], parts) for path in candidates]
    candidates = [path for path, length in zip(candidates, common, strict=True) if length == max(common)]
    for preferred in (split, "train"):
        inside = [path for path in candidates if split_of_path(path) == preferred]
        if len(inside) == 1:
            return inside
    return candidates


def _common(first: list[str], second: list[str]) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one.lower() != other.lower():
            break
        length += 1
    return length
