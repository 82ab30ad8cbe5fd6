"""What earlier runs and a person decided about pictures, by path and by content, and the index that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.data.scan_store import digests
from vizsla.files import replacing

STATUSES = ("ok", "damaged", "repaired", "left-out", "keep", "absent")
"""What became of a picture. ``left-out`` and ``keep`` may be written by a person: the gate then obeys. ``absent`` was
there in an earlier run: its row keeps its split until it comes back, under this or another name."""
OURS = "gate: "
"""How reasons begin that the gate has written; a ``left-out`` with any other reason is a person's decision."""

OK, DAMAGED, REPAIRED, LEFT_OUT, KEEP, ABSENT = range(len(STATUSES))

INDEX = np.dtype([("path", np.uint64), ("sha256", np.uint64), ("split", np.int8), ("status", np.int8)])


Rows = npt.NDArray[np.void]


@dataclass(frozen=True)
class PictureDecisions:
    """What an earlier manifest says of some pictures.

    ``splits`` int8 (n,), -1 for an unknown picture; ``statuses`` int8 (n,), :data:`LEFT_OUT` or :data:`KEEP` for a
    person's decision and :data:`OK` for everything else; ``reasons`` the person's words, by row.
    """

    splits: npt.NDArray[np.int8]
    statuses: npt.NDArray[np.int8]
    reasons: dict[int, str]


@dataclass(frozen=True)
class Decisions:
    """What an earlier manifest says, by path and by content: the split it froze, and what a person decided.

    ``rows`` is sorted by the path's digest and holds the first eight bytes of the SHA-256 (0 where the picture could
    not be read); ``reasons`` are those of a person's decisions, by the path's digest.
    """

    rows: Rows
    reasons: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, paths: Sequence[str], sha256: npt.NDArray[np.uint8] | None = None) -> PictureDecisions:
        """What is known of some pictures.

        A picture that was renamed, or moved to the folder of another label, is known by its content. A copy is not:
        a content speaks only for one that is no longer where it was.

        Parameters
        ----------
        sha256:
            uint8 (n, 32), zeros where unknown; without it, pictures are known by their paths only.
        """
        splits, statuses = np.full(len(paths), -1, np.int8), np.full(len(paths), OK, np.int8)
        if not len(self.rows) or not len(paths):
            return PictureDecisions(splits, statuses, {})
        words = digests(paths)
        at = np.minimum(np.searchsorted(self.rows["path"], words), len(self.rows) - 1)
        at = np.where(self.rows["path"][at] == words, at, -1)
        if sha256 is not None:
            at = self._by_content(at, np.ascontiguousarray(sha256).view(np.uint64)[:, 0])
        has_row = at >= 0
        rows = self.rows[at[has_row]]
        splits[has_row], statuses[has_row] = rows["split"], rows["status"]
        decided = np.flatnonzero(statuses != OK)
        reasons = {int(row): self.reasons.get(int(self.rows["path"][at[row]]), "") for row in decided}
        return PictureDecisions(splits, statuses, {row: reason for row, reason in reasons.items() if reason})

    def _by_content(self, at: npt.NDArray[np.int64], contents: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """``at`` (rows by path), replaced where the content of a picture was elsewhere."""
        before = self.rows["sha256"][at]
        stayed = (at >= 0) & ((before == contents) | (before == 0) | (contents == 0))
        moved = self.rows["sha256"] != 0
        moved[at[stayed]] = False
        candidates = np.flatnonzero(moved)
        seek = np.flatnonzero(~stayed & (contents != 0))
        if not len(candidates) or not len(seek):
            return at
        rows = self.rows[candidates]
        # Of one content under several names, the one furthest from training comes last and is the one that is found.
        candidates = candidates[np.lexsort((rows["status"], rows["split"], rows["sha256"]))]
        words = self.rows["sha256"][candidates]
        place = np.searchsorted(words, contents[seek], side="right") - 1
        same = (place >= 0) & (words[place] == contents[seek])
        at = at.copy()
        at[seek[same]] = candidates[place[same]]
        return at


def index_rows(
    words: npt.NDArray[np.uint64],
    contents: npt.NDArray[np.uint64],
    splits: npt.NDArray[np.int8],
    statuses: npt.NDArray[np.int8],
) -> Rows:
    """Rows of an index: digests of paths and first words of contents, uint64; splits and statuses, int8."""
    rows = np.zeros(len(words), INDEX)
    rows["path"], rows["sha256"], rows["split"], rows["status"] = words, contents, splits, statuses
    return rows


def in_order(parts: Sequence[Rows]) -> Rows:
    """The parts of an index as one, as :class:`Decisions` wants it."""
    rows = np.concatenate(parts) if parts else np.zeros(0, INDEX)
    return rows[np.argsort(rows["path"], kind="stable")]


def _index_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.index")


def save_index(path: Path, index: Decisions) -> None:
    """Keep what the manifest at ``path`` says beside it, for as long as nobody else changes the manifest."""
    stat = path.stat()
    reasons = json.dumps({str(word): reason for word, reason in index.reasons.items()}).encode()
    with replacing(_index_path(path)) as file:
        np.save(file, np.array([stat.st_size, stat.st_mtime_ns], np.int64))
        np.save(file, index.rows)
        np.save(file, np.frombuffer(reasons, np.uint8))


def load_index(path: Path, size: int, mtime_ns: int) -> Decisions | None:
    """What :func:`save_index` has kept; None where the manifest is another one by now."""
    try:
        with open(_index_path(path), "rb") as file:
            stamp, rows, reasons = (np.load(file, allow_pickle=False) for _ in range(3))
        texts = {int(word): reason for word, reason in json.loads(reasons.tobytes()).items()}
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    same = stamp.tolist() == [size, mtime_ns] and rows.dtype == INDEX
    return Decisions(rows, texts) if same else None
