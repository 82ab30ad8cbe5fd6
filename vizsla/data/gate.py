"""The gate: copies are looked for, splits drawn or kept, checks run, and each picture gets its decision."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vizsla.data import checks
from vizsla.data.arrange import arrange, group_codes
from vizsla.data.checks import Facts
from vizsla.data.dataset import SPLITS, Dataset
from vizsla.data.decisions import DAMAGED, KEEP, LEFT_OUT, OK, OURS, REPAIRED, Decisions
from vizsla.data.duplicates import Clusters, exact, together
from vizsla.data.inspection import inspect
from vizsla.data.leaks import LEAKS, leaks
from vizsla.data.listing import Listing
from vizsla.data.near_copies import bits_of, near_copies
from vizsla.data.repair import repair
from vizsla.data.scan import Scan
from vizsla.errors import DataError, UsageError
from vizsla.findings import Finding
from vizsla.images import Limits, read_file
from vizsla.parameters import spelled

OnDamaged = Literal["skip", "repair", "fail"]
OnLeak = Literal["drop-from-train", "warn", "fail"]


@dataclass(frozen=True)
class GateOptions:
    """What to do about pictures that cannot be read, and about pictures that lie in several splits.

    ``near_copies`` says what counts as one: ``auto``, ``off``, or the most bits of 256 in which two hashes differ.

    Raises
    ------
    UsageError
        For an unknown choice.
    """

    on_damaged: OnDamaged = "skip"
    on_leak: OnLeak = "drop-from-train"
    near_copies: str | int = "auto"

    def __post_init__(self) -> None:
        bits = bits_of(self.near_copies)
        if bits is not None and bits >= 0:
            object.__setattr__(self, "near_copies", bits)  # a command line has text
        for name, kind in (("on_damaged", OnDamaged), ("on_leak", OnLeak)):
            value, allowed = getattr(self, name), get_args(kind)
            if value not in allowed:
                raise UsageError(f"{spelled(name)} {value!r} is not known.", parameter=name, allowed=", ".join(allowed))


@dataclass(frozen=True)
class GateResult:
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
        paths, errors = self.facts.dataset.paths, self.facts.scan.errors
        refused = {paths[row]: e for row, e in errors.items() if e.kind == "corrupt-data" and not self.usable[row]}
        whole = replace(self.facts.dataset, copies=self.copies, refused=refused)
        rows = np.flatnonzero(self.status != LEFT_OUT)
        return whole if len(rows) == len(whole) else whole.take(rows)

    @property
    def contents(self) -> npt.NDArray[np.uint8]:
        """SHA-256 of each file of :attr:`dataset` as it was looked at, uint8 (n, 32); zeros where it was not read, or
        where a repaired copy stands in its place."""
        sha256 = self.facts.scan.records["sha256"].copy()
        sha256[self.status == REPAIRED] = 0
        contents: npt.NDArray[np.uint8] = sha256[self.status != LEFT_OUT]
        return contents

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Which pictures of the source are used, bool (n,)."""
        mask: npt.NDArray[np.bool_] = (self.status != LEFT_OUT) & (self.status != DAMAGED)
        return mask

    def check(self) -> tuple[str, ...]:
        """As :meth:`Dataset.check` of what may be used; an error tells when what was left out has led to it.

        Raises
        ------
        DataError
            When no classifier can be trained on what can be read and is not left out.
        """
        try:
            return self.facts.dataset.check(self.usable)
        except DataError as error:
            copies = [row for row, reason in self.reasons.items() if reason.startswith(f"{OURS}leak")]
            if rows := self._emptying(copies):
                raise self._lost_to_copies(error, rows) from error
            if rows := self._emptying(np.flatnonzero(self.status == DAMAGED).tolist()):
                raise self._lost_to_reading(error, rows) from error
            raise

    def _emptying(self, rows: list[int]) -> list[int]:
        """Those of some unused pictures without which a class has none in train; else, none in their own split."""
        dataset, before = self.facts.dataset, self.usable
        after = dataset.counts(before)
        before[rows] = True
        emptied = (dataset.counts(before) > 0) & (after == 0)
        from_train = [row for row in rows if emptied[dataset.labels[row], SPLITS.index("train")]]
        return from_train or [row for row in rows if emptied[dataset.labels[row], dataset.splits[row]]]

    def _lost_to_copies(self, error: DataError, rows: Sequence[int]) -> DataError:
        shown = ", ".join(self.facts.dataset.paths[row] for row in rows[:5])
        return DataError(
            f"{error.what} {len(rows):,} pictures were left out because a copy lies in another split: "
            f"{shown}{' and others' if len(rows) > 5 else ''}.",
            where=error.where,
            allowed=error.allowed,
            do=f"take the copies out of the other splits, or keep both by {spelled('on_leak', 'warn')}",
        )

    def _lost_to_reading(self, error: DataError, rows: Sequence[int]) -> DataError:
        dataset, first = self.facts.dataset, self.facts.scan.errors[rows[0]]
        labels = tuple(dict.fromkeys(dataset.classes[dataset.labels[row]] for row in rows))
        return DataError(
            f"{error.what} Pictures of it that cannot be read: {len(rows):,}, such as {dataset.paths[rows[0]]} "
            f"({first.what})",
            where=error.where,
            allowed=error.allowed,
            do=f"{first.do or 'replace them'} (`vizsla check` lists them), or leave the class out by "
            f"{spelled('drop_classes', labels)}",
        )


def pass_gate(
    listing: Listing, scan: Scan, earlier: Decisions, options: GateOptions, *, seed: int, repaired: Path, limits: Limits
) -> GateResult:
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
    status = np.full(len(listing.paths), OK, np.int8)
    reasons: dict[int, str] = {}
    scan, copies = _decide_damaged(listing, scan, options.on_damaged, repaired, limits, status, reasons)
    visible = scan.seen | (status == REPAIRED)
    same = exact(scan.records["sha256"], visible)
    labels = np.unique(listing.labels, return_inverse=True)[1].astype(np.int32)
    alike = near_copies(scan.records["phash"], visible, labels, same, options.near_copies)
    before = earlier.of(listing.paths, scan.records["sha256"])
    dataset = arrange(
        listing,
        seed=seed,
        groups=together([named, same.of, alike.clusters.of]),
        frozen=before.splits if len(earlier) else None,
        with_findings=False,
    )
    groups = Clusters(np.full(len(dataset), -1, np.int32) if named is None else named)
    facts = Facts(dataset, scan, same, alike, groups)
    findings = checks.run(facts, listing.findings)
    for row in np.flatnonzero(before.statuses == LEFT_OUT).tolist():
        status[row], reasons[row] = LEFT_OUT, before.reasons.get(row, "left out by hand")
    for row in np.flatnonzero(before.statuses == KEEP).tolist():
        decodes = status[row] == OK or (row in scan.errors and scan.errors[row].kind == "corrupt-data")
        if not decodes:
            continue
        status[row] = KEEP
        reasons.pop(row, None)
        if row in before.reasons:
            reasons[row] = before.reasons[row]
    _decide_leaks(facts, findings, options.on_leak, status, reasons)
    return GateResult(facts, findings, status, reasons, copies)


def _decide_damaged(
    listing: Listing,
    scan: Scan,
    choice: OnDamaged,
    folder: Path,
    limits: Limits,
    status: npt.NDArray[np.int8],
    reasons: dict[int, str],
) -> tuple[Scan, dict[str, Path]]:
    """The scan with records of the repaired pictures (of their content before), and their copies by path."""
    errors = scan.errors
    if errors and choice == "fail":
        row = min(errors)
        raise DataError(
            f"{len(errors):,} pictures cannot be read, such as {listing.paths[row]} ({errors[row].what})",
            where=listing.root,
            do=f"replace them, or choose {spelled('on_damaged', 'skip')} or {spelled('on_damaged', 'repair')}; "
            "`vizsla check` lists them",
        )
    copies: dict[str, Path] = {}
    records = scan.records.copy() if errors and choice == "repair" else scan.records
    for row, error in sorted(errors.items()):
        status[row], reasons[row] = DAMAGED, f"{OURS}{error.kind}: {error.what}"
        if choice == "repair" and error.kind == "truncated":
            path = listing.root / listing.paths[row]
            copy = repair(path, folder, limits)
            if copy is not None:
                copies[listing.paths[row]] = copy
                status[row], reasons[row] = REPAIRED, f"{OURS}{error.kind}; its intact part is {copy.name}"
                data = read_file(path, limits)
                records[row] = inspect(read_file(copy, limits), limits, with_quality=False).record
                records["sha256"][row] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
                records["bytes"][row] = len(data)
    return replace(scan, records=records), copies


def _decide_leaks(
    facts: Facts, findings: Sequence[Finding], choice: OnLeak, status: npt.NDArray[np.int8], reasons: dict[int, str]
) -> None:
    """Of pictures in several splits, the one that is furthest from training stays."""
    leak_findings = [finding for finding in findings if finding.id in LEAKS]
    if not leak_findings or choice == "warn":
        return
    leaked = leaks(facts, np.isin(status, (OK, REPAIRED, KEEP)), status == KEEP)
    if leaked and choice == "fail":
        first = min(leaked)
        raise DataError(
            "Pictures lie in more than one split: " + " ".join(finding.evidence for finding in leak_findings),
            where=f"{facts.dataset.root}, such as {facts.dataset.paths[first]} ({leaked[first]})",
            do=f"take the copies out of one split, or choose {spelled('on_leak', 'drop-from-train')} or "
            f"{spelled('on_leak', 'warn')}",
        )
    for row, reason in leaked.items():
        status[row], reasons[row] = LEFT_OUT, OURS + reason
