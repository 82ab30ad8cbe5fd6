"""Labels that a model, trained without them, does not believe: cleanlab's confident learning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vizsla.data.checks.facts import Facts
from vizsla.findings import Finding
from vizsla.optional import require


def find(
    facts: Facts, rows: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]
) -> Finding | None:
    """Pictures whose label is probably wrong (Northcutt, Jiang, Chuang, "Confident Learning", JAIR 70, 2021).

    Parameters
    ----------
    rows:
        The pictures that ``probabilities`` (len(rows), len(classes)) speak of. They must come from heads that were
        not trained on the picture they judge.
    classes:
        The labels that the columns stand for, ascending; every row has one of them.

    Raises
    ------
    MissingExtraError
        When cleanlab is not installed.
    """
    filters = require("cleanlab.filter", extra="check", feature="Looking for label errors")
    dataset = facts.dataset
    labels = np.searchsorted(classes, dataset.labels[rows])
    # Of cleanlab's ways the one that found most for its false alarms: 50 of 60 flipped labels, 79 others named, in
    # 3,888 real photos of flowers whose own labels are noisy (docs/data.md).
    at = filters.find_label_issues(
        labels=labels,
        pred_probs=probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    if not len(at):
        return None
    guesses = probabilities[at].argmax(axis=1)
    files = tuple(
        facts.file(
            int(rows[i]),
            f"looks like {dataset.classes[classes[guess]]} ({100 * probabilities[i, guess]:.0f} %; as labelled "
            f"{100 * probabilities[i, labels[i]]:.0f} %)",
        )
        for i, guess in zip(at.tolist(), guesses.tolist(), strict=True)
    )
    return Finding(
        "label-errors",
        "warning",
        "Suspected label errors",
        f"{len(files):,} of {len(rows):,} labels are not believed by a model that was trained without them.",
        "look at each, the surest first, and correct the label where it is wrong",
        files,
    )
