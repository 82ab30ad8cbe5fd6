"""The rules: one file each."""

from __future__ import annotations

import difflib
import importlib
import re

from vizsla.debugging.rules.base import BuiltIn
from vizsla.errors import UsageError

NAMES = (
    "all_zero",
    "batch_norm_gap",
    "check_input_images",
    "class_imbalance",
    "confusion",
    "dead_relu",
    "exploding_tensor",
    "forgotten_zero_grad",
    "frozen_mismatch",
    "learning_rate_too_high",
    "learning_rate_too_low",
    "loss_not_decreasing",
    "loss_spike",
    "optimizer_misses_layer",
    "overfit",
    "overtraining",
    "poor_weight_initialization",
    "saturated_activation",
    "shuffled_labels",
    "similar_across_runs",
    "softmax_before_loss",
    "stalled_training",
    "summed_loss",
    "tensor_variance",
    "unchanged_tensor",
    "vanishing_gradient",
    "weight_update_ratio",
    "wrong_mode",
    "wrong_normalization",
)
"""Each is a module of this package."""
NOT_FOR_IMAGES = ("nlp_sequence_ratio", "tree_depth", "feature_importance_overweight", "create_xgboost_report")
"""AWS's rules for text and for XGBoost: accepted, and answered with why they do not run."""
_ALIASES = {"stalled_training_rule": "stalled_training"}


def canonical(name: str) -> str:
    """``VanishingGradient`` and ``vanishing-gradient`` to ``vanishing_gradient``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.strip()).replace("-", "_").lower()
    return _ALIASES.get(words, words)


def rule_class(name: str) -> type[BuiltIn]:
    """The rule of this name, AWS's class or factory names among them.

    Raises
    ------
    UsageError
        For an unknown one, with those near to it.

    Examples
    --------
    >>> rule_class("VanishingGradient").parameters()
    {'threshold': 1e-07}
    """
    found = canonical(name)
    if found in NOT_FOR_IMAGES:
        raise UsageError(f"The rule {name!r} is not for image classifiers: it looks at text or at trees.", where="rule")
    if found not in NAMES:
        near = difflib.get_close_matches(found, NAMES, 3, 0.5)
        raise UsageError(
            f"There is no rule {name!r:.80}" + (f"; near it: {', '.join(near)}." if near else "."),
            where="rule",
            allowed=", ".join(NAMES),
        )
    rule: type[BuiltIn] = importlib.import_module(f"vizsla.debugging.rules.{found}").RULE
    return rule


def default_rules() -> list[BuiltIn]:
    """All that look without being asked to."""
    return [kind() for kind in map(rule_class, NAMES) if kind.automatic]
