"""A listing becomes a data set: labels to numbers, groups to numbers, splits given or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Dataset, Split
from vizsla.data.listing import Listing
from vizsla.data.split import DEFAULT_SHARE, UNDRAWN, carve


def arrange(
    listing: Listing,
    *,
    seed: int = 0,
    groups: npt.NDArray[np.int32] | None = None,
    frozen: npt.NDArray[np.int8] | None = None,
    with_findings: bool = True,
) -> Dataset:
    """Make the table, and draw the splits that the source does not bring.

    A picture without a split counts for train; a split that no picture has is drawn from train, stratified by
    class, and the notes say so.

    Parameters
    ----------
    groups:
        int32 (n,): what must share a split. By default the listing's own groups.
    frozen:
        int8 (n,): the splits of an earlier run; see :func:`vizsla.data.split.carve`.
    with_findings:
        Whether the notes tell the listing's findings, too.
    """
    classes = listing.classes()
    position = {label: i for i, label in enumerate(classes)}
    labels = np.fromiter((position[label] for label in listing.labels), np.int32, len(listing.labels))
    code = {split: SPLITS.index(split or "train") for split in (None, *SPLITS)}
    splits = np.fromiter((code[split] for split in listing.splits), np.int8, len(listing.splits))
    if groups is None:
        groups = group_codes(listing)
    present = set(listing.splits)
    missing = [split for split in SPLITS[1:] if split not in present]
    notes = list(listing.notes)
    if with_findings:
        notes += [finding.note for finding in listing.findings]
    if (missing or frozen is not None) and len(labels):
        pool = splits == SPLITS.index("train")
        if frozen is not None:
            frozen = _frozen_splits(frozen, pool, missing)
        splits = carve(listing.paths, labels, splits, missing, seed, groups=groups, frozen=frozen)
        old = 0 if frozen is None else int((pool & (frozen != UNDRAWN)).sum())
        if missing:
            notes.append(_split_note(missing, seed, old, int(pool.sum()) - old))
        elif held := int((pool & (splits != SPLITS.index("train"))).sum()):
            notes.append(
                f"{held:,} pictures that the source has in train stay in valid or test, where earlier runs had them "
                "(remove the manifest to follow the source)."
            )
    return Dataset(
        listing.name, listing.root, classes, listing.paths, labels, splits, tuple(notes), groups, layout=listing.layout
    )


def _frozen_splits(
    frozen: npt.NDArray[np.int8], pool: npt.NDArray[np.bool_], missing: Sequence[Split]
) -> npt.NDArray[np.int8]:
    """The splits that stay. An earlier run that left one of the missing ones empty has trained on nothing: what it had
    in train is drawn anew."""
    if all(((frozen == SPLITS.index(split)) & pool).any() for split in missing):
        return frozen
    return np.where(frozen == SPLITS.index("train"), np.int8(UNDRAWN), frozen)


def _split_note(missing: Sequence[Split], seed: int, old: int, new: int) -> str:
    """How the splits that the source does not bring have come about."""
    share = f"{DEFAULT_SHARE:.0%} of every class {'each ' if len(missing) > 1 else ''}was drawn for it (seed {seed})"
    if old:
        words = f"{old:,} pictures keep what an earlier run drew"
        share = f"{words}; {new:,} new ones were drawn (seed {seed})" if new else words
    return f"No {' and no '.join(missing)} split is given: {share}."


def group_codes(listing: Listing) -> npt.NDArray[np.int32] | None:
    """The listing's groups as numbers, int32 (n,); None where it has none."""
    if listing.groups is None:
        return None
    codes: dict[str, int] = {}
    return np.fromiter((codes.setdefault(key, len(codes)) for key in listing.groups), np.int32, len(listing.groups))
