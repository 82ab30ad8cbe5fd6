"""Labels that a model does not believe (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 70, 2021)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def suspects(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rows of pictures that are confidently of another class than they are labelled, the surest first.

    Confidently of a class is a picture whose probability of it is at least the mean one of the pictures that are
    labelled so; of several such classes the likeliest counts. A picture that is answered as it is labelled is none. The
    model must not be trained on these labels.

    Parameters
    ----------
    probabilities, labels:
        (n, classes) and int32 (n,).
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    means = np.bincount(labels, weights=own, minlength=classes) / np.maximum(counts, 1)
    confident = (probabilities >= np.where(counts > 0, means, np.inf)[None] - 1e-9) * probabilities
    guess = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) > 0) & (guess != labels) & (probabilities.argmax(axis=1) != labels))
    margin = own[rows] - probabilities[rows, guess[rows]]
    return rows[np.argsort(margin, kind="stable")]
