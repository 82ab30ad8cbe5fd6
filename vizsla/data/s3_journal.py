"""Which objects of a bucket lie in its mirror, so that only what changed is fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vizsla.files import storage


@dataclass(frozen=True)
class Object:
    """One version of one object."""

    key: str
    size: int
    etag: str
    has_etag: bool = True
    """Some services give no ETag; the time of change then stands for it."""


class Journal:
    """Which version of each object is on disk: lines of ETag, size and key; the last line of a key counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, tuple[str, int]] = {}
        try:
            lines = path.read_text("utf-8", "surrogateescape").split("\n")
        except OSError:
            lines = []
        for line in lines[:-1]:  # what follows the last line end was cut off by a kill
            etag, size, key = [*line.split("\t", 2), "", ""][:3]
            if size.isdecimal() and key:
                self.entries[key] = etag, int(size)
        with storage(path):
            self._file = open(path, "a", encoding="utf-8", errors="surrogateescape", buffering=1)  # noqa: SIM115

    def add(self, remote: Object) -> None:
        self.entries[remote.key] = remote.etag, remote.size
        with storage(self.path):
            self._file.write(f"{remote.etag}\t{remote.size}\t{remote.key}\n")

    def flush(self) -> None:
        with storage(self.path):
            self._file.flush()

    def compact(self, objects: dict[str, Object]) -> None:
        """Rewrite the journal with what is wanted, when it has grown by more than that."""
        self._file.close()
        keys = {remote.key for remote in objects.values()}
        if len(self.entries) > len(keys):
            self.entries = {key: value for key, value in self.entries.items() if key in keys}
            temporary = self.path.with_suffix(".tmp")
            with storage(temporary):
                lines = (f"{etag}\t{size}\t{key}\n" for key, (etag, size) in self.entries.items())
                temporary.write_text("".join(lines), "utf-8", "surrogateescape")
                os.replace(temporary, self.path)
