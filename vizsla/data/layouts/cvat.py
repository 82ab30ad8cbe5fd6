"""CVAT's exports of tags: "CVAT for images 1.1", an XML file with the tags of each picture.

(Its format "ImageNet 1.0" is class folders.) The XML is read as a stream, and one with a document type, which could
define entities, is refused.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from xml.parsers import expat

from vizsla.data.contents import Contents
from vizsla.data.dataset import Split
from vizsla.data.folders import SPLIT_FOLDERS
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import split_and_rest
from vizsla.data.one_hot import several_labels
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
from vizsla.errors import DataError, SourceError

_MOST = 16
"""More XML files than this are one for each picture, and not CVAT's."""


def _find(contents: Contents) -> Iterable[Files]:
    files = tuple(contents.near(".xml", depth=1))
    return [files] if 0 < len(files) <= _MOST else []


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records: list[Record] = []
    read = []
    for file in files:
        export = _Export(contents.root / file, posixpath.dirname(file), split_and_rest(file)[0])
        if export.is_cvat:
            read.append(file)
            records += export.records
    if not read:
        return None
    if all(record.label is None for record in records):
        raise DataError(
            "The pictures of this export have no tags; boxes and outlines are no labels of whole pictures.",
            where=contents.root / read[0],
            allowed='<image name="a.jpg"><tag label="cat"/></image>',
            do="annotate with tags, or cut the boxes out",
        )
    return Reading(f"CVAT for images: {', '.join(read)}", tuple(read), records)


class _Export:
    """The records of one file; ``is_cvat`` tells whether its outermost element is ``annotations``."""

    def __init__(self, file: Path, folder: str, split: Split | None) -> None:
        self.records: list[Record] = []
        self.is_cvat = False
        self._file, self._folder, self._split = file, folder, split
        self._depth = 0
        self._tags: list[str] = []
        parser = expat.ParserCreate()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler = self._doctype
        self._parser = parser
        try:
            with open(file, "rb") as stream:
                parser.ParseFile(stream)
        except expat.ExpatError as error:
            if self.is_cvat:
                raise SourceError(f"The XML is damaged: {error}.", where=file, do="export it again") from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0:
            self.is_cvat = name == "annotations"
        self._depth += 1
        if not self.is_cvat:
            return
        if name == "image":
            self._tags = []
            self._picture = attributes.get("name", "")
            self._subset = SPLIT_FOLDERS.get(attributes.get("subset", "").lower(), self._split)
        elif name == "tag" and attributes.get("label"):
            self._tags.append(attributes["label"])

    def _end(self, name: str) -> None:
        self._depth -= 1
        if not (self.is_cvat and name == "image" and self._depth == 1):
            return
        where = f"{self._file}, line {self._parser.CurrentLineNumber}"
        labels = list(dict.fromkeys(self._tags))
        if len(labels) > 1:
            raise several_labels(1, f"{self._picture!r} ({' and '.join(labels)})", where)
        label = labels[0] if labels else None
        self.records.append(Record(self._picture, label, self._subset, where, None, self._folder))

    def _doctype(self, *_: object) -> None:
        raise SourceError(
            "The XML has a document type, which no export has.", where=self._file, do="do not use this file"
        )


LAYOUT = Layout("the XML of CVAT for images, with a tag for each picture", _find, _read)
