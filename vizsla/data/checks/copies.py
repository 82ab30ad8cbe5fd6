"""The same picture twice: in one split, across splits (a leak), under two labels; and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.data.checks.facts import Check, Facts
from vizsla.data.duplicates import NEAR_BITS, Clusters, joined
from vizsla.findings import Finding, Severity
from vizsla.parameters import spelled

SCENE = "one-scene"
"""The finding about pictures of which a result depends on how they were split."""

_MEASURED = "unless one is left out, accuracy is measured on pictures that training has seen"


def _until_then() -> str:
    return f"until then those in the split that trains are left out ({spelled('on_leak')})"


def _same(facts: Facts, rows: npt.NDArray[np.int64]) -> bool:
    """Whether all have the same bytes."""
    exact = facts.exact.of[rows]
    return bool(exact[0] >= 0 and (exact == exact[0]).all())


def _one_split(facts: Facts, rows: npt.NDArray[np.int64]) -> bool:
    return bool(np.ptp(facts.dataset.splits[rows]) == 0)


def _one_label(facts: Facts, rows: npt.NDArray[np.int64]) -> bool:
    return bool(np.ptp(facts.dataset.labels[rows]) == 0)


Test = Callable[[Facts, npt.NDArray[np.int64]], bool]


@dataclass(frozen=True)
class _Kind:
    id: str
    severity: Severity
    title: str
    words: str
    fix: Callable[[], str]
    clusters: Callable[[Facts], Clusters]
    test: Test


_KINDS = (
    _Kind(
        "two-labels",
        "error",
        "The same picture under two labels",
        "pictures, the same or nearly so, with different labels",
        lambda: "keep the copy with the right label",
        lambda facts: joined(facts.exact, facts.near.clusters),
        lambda facts, rows: not _one_label(facts, rows),
    ),
    _Kind(
        "leak-exact",
        "error",
        "Exact copies across splits",
        f"copies that lie in more than one split; {_MEASURED}",
        lambda: f"take the copies out of one split; {_until_then()}",
        lambda facts: facts.exact,
        lambda facts, rows: not _one_split(facts, rows),
    ),
    _Kind(
        "leak-near",
        "error",
        "Near copies across splits",
        f"nearly the same pictures that lie in more than one split; {_MEASURED}",
        lambda: f"take them out of one split; {_until_then()}",
        lambda facts: facts.near.clusters,
        lambda facts, rows: not _one_split(facts, rows) and not _same(facts, rows),
    ),
    _Kind(
        "leak-group",
        "error",
        "Groups across splits",
        f"pictures of one group that lie in more than one split; {_MEASURED}",
        lambda: f"put each group into one split; {_until_then()}",
        lambda facts: facts.groups,
        lambda facts, rows: not _one_split(facts, rows),
    ),
    _Kind(
        "copies-exact",
        "warning",
        "Exact copies within a split",
        "copies: they count more than other pictures",
        lambda: "keep one of each",
        lambda facts: facts.exact,
        lambda facts, rows: _one_split(facts, rows) and _one_label(facts, rows),
    ),
    _Kind(
        "copies-near",
        "warning",
        "Near copies within a split",
        "nearly the same pictures (bursts, other sizes): they count more than others",
        lambda: f"keep the best of each, or keep them together by {spelled('group_by')}",
        lambda facts: facts.near.clusters,
        lambda facts, rows: _one_split(facts, rows) and _one_label(facts, rows) and not _same(facts, rows),
    ),
)


def _check(kind: _Kind) -> Check:
    def check(facts: Facts) -> Finding | None:
        clusters = [rows for rows in kind.clusters(facts).members() if kind.test(facts, rows)]
        if not clusters:
            return None
        files = facts.sets(clusters, lambda row: _detail(facts, kind, row))
        sets = "set" if len(clusters) == 1 else "sets"
        evidence = f"{len(clusters):,} {sets} of {kind.words} ({len(files):,} files)."
        return Finding(kind.id, kind.severity, kind.title, evidence, kind.fix(), files)

    return check


def _detail(facts: Facts, kind: _Kind, row: int) -> str:
    if kind.id == "leak-group":
        return "same group"
    if facts.exact.of[row] >= 0:
        return "same bytes as another"
    bits = int(facts.near.bits[row])
    return f"{bits} of 256 hash bits from the most alike" if bits >= 0 else "looks like another"


def _scenes(facts: Facts) -> Finding | None:
    """Pictures that are too alike to be told from copies, and too many to be some."""
    scenes, limits = facts.near.scenes.members(), facts.near.limits
    if not scenes:
        return None

    def detail(row: int) -> str:
        limit = int(limits[row])
        return f"copies within {limit} bits are told" if limit >= 0 else "only copies of the same bytes are told"

    files = facts.sets(scenes, detail)
    sets = "set" if len(scenes) == 1 else "sets"
    return Finding(
        SCENE,
        "warning",
        "Pictures of one scene",
        f"{len(scenes):,} {sets} of pictures ({len(files):,} files) that look nearly the same and are most of a class "
        "or of several classes: one scene, as of a fixed camera, and not copies. They may lie in different splits.",
        f"keep together by {spelled('group_by')} what was taken at one time; if they are copies, say "
        f"{spelled('near_copies', NEAR_BITS)}",
        files,
    )


CHECKS = (*(_check(kind) for kind in _KINDS), _scenes)
