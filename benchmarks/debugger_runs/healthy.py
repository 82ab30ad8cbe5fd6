"""Trainings that nothing is wrong with: a rule that speaks of one is a false alarm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from .networks import convolutional, perceptron
from .photos import CLASSES
from .run import Run


def healthy(base: Run, plain: Run) -> Iterator[Run]:
    """Trainings that nothing is wrong with."""
    yield replace(base, name="batch normalisation")
    yield replace(plain, name="without normalisation")
    yield replace(base, name="batches of 8", batch=8)
    yield replace(base, name="label smoothing", loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    yield replace(base, name="cosine and flips", schedule=True, flip=True)
    yield replace(base, name="dropout", net=lambda: convolutional(dropout=0.3))
    yield replace(base, name="accumulation over 2", accumulate=2)
    yield replace(base, name="no validation", validate=False)
    yield replace(base, name="3 : 1", rows=_three_to_one)
    yield replace(base, name="AdamW", optimizer=lambda p: torch.optim.AdamW(p, 2e-3, weight_decay=0.01))
    yield replace(plain, name="a perceptron", net=perceptron)
    yield replace(base, name="pixels 0..1", normalize="unit")
    yield replace(base, name="short", epochs=2)


def _three_to_one(labels: torch.Tensor) -> torch.Tensor:
    return torch.cat([(labels == c).nonzero().flatten()[: 26 if c % 2 else 80] for c in range(CLASSES)])
