"""The gate: copies are looked for, splits drawn or kept, checks run, and each picture gets its decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vizsla.data import checks
from vizsla.data.arrange import arrange, group_codes
from vizsla.data.checks import Facts, Finding
from vizsla.data.dataset import Dataset
from vizsla.data.duplicates import Clusters, exact, near
from vizsla.data.listing import Listing
from vizsla.data.manifest import DAMAGED, KEEP, LEFT_OUT, OK, OURS, REPAIRED, Decisions
from vizsla.data.repair import repair
from vizsla.data.scan import Scan
from vizsla.errors import DataError, UsageError
from vizsla.images import Limits

OnDamaged = Literal["skip", "repair", "fail"]
OnLeak = Literal["drop-from-train", "warn", "fail"]

_LEAKS = ("leak-exact", "leak-near", "leak-group")


@dataclass(frozen=True)
class GateOptions:
    """What to do about pictures that cannot be read, and about pictures that lie in several splits.

    Raises
    ------
    UsageError
        For an unknown choice.
    """

    on_damaged: OnDamaged = "skip"
    on_leak: OnLeak = "drop-from-train"

    def __post_init__(self) -> None:
        for name, kind in (("on_damaged", OnDamaged), ("on_leak", OnLeak)):
            value, allowed = getattr(self, name), get_args(kind)
            if value not in allowed:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {value!r} is not known.", where=option, allowed=", ".join(allowed))


@dataclass(frozen=True)
class Gated:
    """What came through the gate.

    ``facts`` hold every picture of the source; ``status`` (int8, (n,)) is what became of each and ``reasons`` why,
    where there is a reason; ``copies`` are the repaired ones by path.
    """

    facts: Facts
    findings: list[Finding]
    status: npt.NDArray[np.int8]
    reasons: dict[int, str]
    copies: dict[str, Path]

    @property
    def dataset(self) -> Dataset:
        """The pictures that may be used. Damaged ones stay in it, to be listed where they are met."""
        whole = replace(self.facts.dataset, copies=self.copies)
        rows = np.flatnonzero(self.status != LEFT_OUT)
        return whole if len(rows) == len(whole) else whole.take(rows)

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which pictures of the source are used, bool (n,)."""
        mask: npt.NDArray[np.bool_] = (self.status != LEFT_OUT) & (self.status != DAMAGED)
        return mask


def pass_gate(
    listing: Listing,
    scan: Scan,
    earlier: Decisions,
    options: GateOptions,
    *,
    seed: int,
    repaired: Path,
    limits: Limits,
) -> Gated:
    """Draw or keep the splits, run all checks, and decide about each picture.

    Splits that are drawn here never part copies or groups. A picture that ``earlier`` knows keeps its split.

    Parameters
    ----------
    repaired:
        Folder for repaired copies.

    Raises
    ------
    DataError
        For damaged pictures or leaks, where the options say ``fail``.
    """
    named = group_codes(listing)
    same = exact(scan.records["sha256"], scan.seen)
    alike, bits = near(scan.records["phash"], scan.seen)
    together = _together(len(listing.paths), [named, same.of, alike.of])
    frozen, decided = earlier.of(listing.paths)
    dataset = arrange(listing, seed=seed, groups=together, frozen=frozen if len(earlier) else None)
    groups = Clusters(np.full(len(dataset), -1, np.int32) if named is None else named)
    facts = Facts(dataset, scan, same, alike, bits, groups)
    findings = checks.run(facts)
    status = np.full(len(dataset), OK, np.int8)
    reasons: dict[int, str] = {}
    copies = _decide_damaged(facts, options.on_damaged, repaired, limits, status, reasons)
    _decide_leaks(facts, findings, options.on_leak, decided, status, reasons)
    for row in np.flatnonzero(decided == LEFT_OUT).tolist():
        status[row], reasons[row] = LEFT_OUT, "left out by hand"
    kept = (decided == KEEP) & (status == OK)
    status[kept] = KEEP
    return Gated(facts, findings, status, reasons, copies)


def _together(n: int, clusterings: Sequence[npt.NDArray[np.int32] | None]) -> npt.NDArray[np.int32] | None:
    """Pictures connected by any of the clusterings (-1 is alone) as one numbering, int32 (n,)."""
    real = [of for of in clusterings if of is not None and (of >= 0).any()]
    if not real:
        return None
    label = np.arange(n)
    while True:  # each turn carries the smallest number through every cluster
        before = label.copy()
        for of in real:
            rows = np.flatnonzero(of >= 0)
            least = np.full(int(of.max()) + 1, n)
            np.minimum.at(least, of[rows], label[rows])
            label[rows] = least[of[rows]]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1].astype(np.int32)


def _decide_damaged(
    facts: Facts,
    choice: OnDamaged,
    folder: Path,
    limits: Limits,
    status: npt.NDArray[np.int8],
    reasons: dict[int, str],
) -> dict[str, Path]:
    errors, dataset = facts.scan.errors, facts.dataset
    if errors and choice == "fail":
        row = min(errors)
        raise DataError(
            f"{len(errors):,} pictures cannot be read, such as {dataset.paths[row]} ({errors[row].what})",
            where=dataset.root,
            do="replace them, or choose --on-damaged skip or repair; `vizsla check` lists them",
        )
    copies: dict[str, Path] = {}
    for row, error in sorted(errors.items()):
        status[row], reasons[row] = DAMAGED, f"{OURS}{error.kind}: {error.what}"
        if choice == "repair" and error.kind == "truncated":
            copy = repair(dataset.path(row), folder, limits)
            if copy is not None:
                copies[dataset.paths[row]] = copy
                status[row], reasons[row] = REPAIRED, f"{OURS}{error.kind}; its intact part is {copy.name}"
    return copies


def _decide_leaks(
    facts: Facts,
    findings: Sequence[Finding],
    choice: OnLeak,
    decided: npt.NDArray[np.int8],
    status: npt.NDArray[np.int8],
    reasons: dict[int, str],
) -> None:
    """Of pictures in several splits, the one that is furthest from training stays."""
    leaks = [finding for finding in findings if finding.id in _LEAKS]
    if leaks and choice == "fail":
        raise DataError(
            "Pictures lie in more than one split: " + " ".join(finding.evidence for finding in leaks),
            where=f"{facts.dataset.root}, such as {leaks[0].files[0].path} and {leaks[0].files[1].path}",
            do="take the copies out of one split, or choose --on-leak drop-from-train or warn",
        )
    if choice != "drop-from-train":
        return
    splits = facts.dataset.splits
    for finding in leaks:
        clusters: dict[int, list[int]] = {}
        for file in finding.files:
            clusters.setdefault(file.cluster or 0, []).append(file.row)
        for rows in clusters.values():
            last = max(splits[rows])
            kept = facts.dataset.paths[next(row for row in rows if splits[row] == last)]
            for row in rows:
                if splits[row] < last and decided[row] != KEEP and status[row] == OK:
                    status[row], reasons[row] = LEFT_OUT, f"{OURS}{finding.id}: {kept} is in another split"
