"""Every reader tries: what each makes of a folder, with its pictures looked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vizsla.data.archives import archives_in
from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Reading
from vizsla.data.layouts.registry import LAYOUTS
from vizsla.data.listing import Listing
from vizsla.data.locate import Locator, tame
from vizsla.data.options import SourceOptions
from vizsla.data.resolve import resolve
from vizsla.errors import DataError, UsageError, VizslaError


@dataclass(frozen=True)
class Candidate:
    """A reading whose pictures were looked for; ``present`` counts those that are there."""

    layout: str
    reading: Reading
    listing: Listing
    present: int

    def __str__(self) -> str:
        return f"{self.reading.title}, {self.listing.numbers()}"


def no_labels(place: Path, options: SourceOptions) -> DataError:
    kinds = {options.layout: LAYOUTS[options.layout]} if options.layout else LAYOUTS
    return DataError(
        f"No labels of the layout {options.layout!r} lie here." if options.layout else "This file holds no labels.",
        where=place,
        allowed="; ".join(f"{name}: {layout.description}" for name, layout in kinds.items()),
    )


def candidates_of(contents: Contents, options: SourceOptions) -> tuple[list[Candidate], list[VizslaError]]:
    """What each reader makes of what lies there, and why others could not read what is theirs."""
    locator = Locator(contents)
    candidates: list[Candidate] = []
    refusals: list[VizslaError] = []
    for name in [options.layout] if options.layout else LAYOUTS:
        for files in filter(None, list(LAYOUTS[name].find(contents))):
            try:
                reading = LAYOUTS[name].read(contents, files, options)
                if reading is None or not reading.records:
                    continue
                listing = resolve(
                    reading.records,
                    lambda record: locator.find(record.picture, record.folder, record.split),
                    contents.root,
                    contents.root.resolve().name,
                    tame,
                )
            except (DataError, UsageError) as error:
                refusals.append(error)
                contents = contents.without(set(files))
                continue
            contents = contents.without(set(reading.files))
            present = len(set(listing.paths) & set(contents.pictures))
            if present:
                candidates.append(Candidate(name, reading, listing, present))
            elif listing.paths:
                refusals.append(_nothing_there(reading, contents.root))
    return candidates, refusals


def _nothing_there(reading: Reading, root: Path) -> DataError:
    packed = archives_in(root)
    return DataError(
        f"None of the pictures is there, such as {reading.records[0].picture!r}.",
        where=f"{root}, {reading.title}",
        allowed="paths, or names, of pictures in this folder",
        do=f"unpack {', '.join(packed)}" if packed else "put the pictures beside the table",
    )
