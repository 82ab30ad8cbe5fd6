"""What a reading leaves out: pictures without a label, told by folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

_MOST = 8
"""Folders that are named."""


def remainder(unlabelled: Iterable[str], labelled: Iterable[str], root: Path) -> list[str]:
    """Notes on pictures that have no label, by folder: those of whole folders are there to be predicted."""
    mixed = {parent for path in labelled for parent in _parents(path)}
    by_folder: dict[str, list[str]] = {}
    for path in unlabelled:
        parents = _parents(path)
        whole = next((parent for parent in parents if parent not in mixed), parents[-1])
        by_folder.setdefault(whole, []).append(path)
    notes = []
    largest = sorted(by_folder, key=lambda folder: -len(by_folder[folder]))
    for folder in largest[:_MOST]:
        paths = by_folder[folder]
        several = len(paths) > 1
        note = (
            f"{len(paths):,} picture{'s' * several} in {f'{folder}/' if folder else 'the folder itself'} "
            f"{'have' if several else 'has'} no label and {'are' if several else 'is'} not read, such as {paths[0]}"
        )
        if folder not in mixed:
            note += f" (`vizsla predict MODEL {shlex.quote(os.path.join(root, folder))}` classifies them)"
        notes.append(f"{note}.")
    if rest := largest[_MOST:]:
        count = sum(len(by_folder[folder]) for folder in rest)
        notes.append(f"{count:,} pictures in {len(rest):,} more folders have no label and are not read.")
    return notes


def _parents(path: str) -> list[str]:
    """The folders above a picture, the root (an empty name) first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(len(parts) + 1)]
