"""Which values a hyperparameter may have, in words and as a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from vizsla.errors import UsageError
from vizsla.models.heads import HEADS


def check(config: Any, *, open_names: tuple[str, ...] = ()) -> None:
    """That every field of a configuration has a value that can be used; those in ``open_names`` may be None.

    Raises
    ------
    UsageError
        Naming the first that has not.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if value is None and field.name in open_names:
            continue
        holds, allowed = _ALLOWED[field.name]
        if not holds(value):
            raise UsageError(f"{field.name}={value!r} cannot be used.", parameter=field.name, allowed=allowed)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda v: v in ("lbfgs", "sgd", "adam", "adamw"), "lbfgs, sgd, adam or adamw"),
    "head": (lambda v: v in HEADS, " or ".join(HEADS)),
    "lr": (lambda v: _number(v) and v > 0, "a number above 0, such as 0.001"),
    "batch_size": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "epochs": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "weight_decay": (lambda v: _number(v) and v >= 0, "a number of at least 0"),
    "momentum": (lambda v: _number(v) and 0 <= v < 1, "0 <= momentum < 1"),
    "nesterov": (lambda v: isinstance(v, bool), "true or false"),
    "label_smoothing": (lambda v: _number(v) and 0 <= v < 1, "0 <= label_smoothing < 1"),
    "balance": (lambda v: v in ("none", "weights", "sampling"), "none, weights or sampling"),
    "patience": (lambda v: v is None or (isinstance(v, int) and v >= 1), "a whole number of at least 1, or none"),
    "depth": (lambda v: v in ("last", "full", "auto"), "head, last, full or auto"),
    "cut": (lambda v: isinstance(v, str) and bool(v), "the name of a block of the backbone, such as layer4.0"),
    "augmentation": (lambda v: v in ("none", "light", "medium", "strong"), "none, light, medium or strong"),
    "flip": (lambda v: isinstance(v, bool), "true or false"),
    "views": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "layer_decay": (lambda v: _number(v) and 0 < v <= 1, "0 < layer_decay <= 1"),
    "unfreeze": (lambda v: _number(v) and v >= 0, "a number of epochs of at least 0"),
    "warmup": (lambda v: _number(v) and 0 <= v < 1, "a share of the steps, 0 <= warmup < 1"),
    "clip": (lambda v: _number(v) and v >= 0, "a number of at least 0, such as 1; 0 bounds nothing"),
    "accumulation": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "ema": (lambda v: _number(v) and 0 <= v < 1, "0 <= ema < 1"),
    "mixup": (lambda v: _number(v) and v >= 0, "a number of at least 0, such as 0.2"),
    "cutmix": (lambda v: _number(v) and v >= 0, "a number of at least 0, such as 1"),
    "batch_norm": (lambda v: v in ("auto", "frozen", "train"), "auto, frozen or train"),
    "precision": (lambda v: v in ("auto", "float32", "bfloat16"), "auto, float32 or bfloat16"),
    "processes": (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1,
        "a whole number of at least 1",
    ),
    "seed": (lambda v: isinstance(v, int) and v >= 0, "a whole number of at least 0"),
}
