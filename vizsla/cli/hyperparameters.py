"""The options of a training: one for each hyperparameter, from one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from vizsla.cli.option_table import with_table
from vizsla.parameters import COMMAND

_HEAD = "Head"
_STEPS = "Training in steps (of the head alone, any of these asks for AdamW)"
_BACKBONE = "Training the backbone (with --depth last, full or auto)"


def _option(panel: str, text: str, *flags: str, **more: Any) -> Any:
    return typer.Option(None, *flags, help=text, rich_help_panel=panel, **more)


OPTIONS: dict[str, tuple[object, Any]] = {
    "depth": (
        str | None,
        _option(
            _HEAD,
            "What trains: head (the default), last (the backbone's last blocks, too), full (all of it), or auto: the "
            "deepest that --minutes and the validation pictures bear out.",
        ),
    ),
    "head": (
        str | None,
        _option(_HEAD, "linear (the default), or cosine: the direction of the features alone counts."),
    ),
    "balance": (
        str | None,
        _option(_HEAD, "Against unequal classes: none (the default), weights or sampling."),
    ),
    "weight_decay": (
        float | None,
        _option(_HEAD, "Strength of the decay. Default: the best of a path of them; in steps 0.01."),
    ),
    "label_smoothing": (
        float | None,
        _option(_HEAD, "Share of the label; 0 by default, 0.1 where the backbone trains."),
    ),
    "optimizer": (
        str | None,
        _option(_HEAD, "lbfgs (the default) goes to the optimum; sgd, adam and adamw take steps."),
    ),
    "lr": (
        float | None,
        _option(_STEPS, "Learning rate; 0.0003 by default, 0.0009 with --depth last."),
    ),
    "batch_size": (
        int | None,
        _option(_STEPS, "Pictures a step; 64 by default, 32 where the backbone trains."),
    ),
    "epochs": (
        int | None,
        _option(_STEPS, "Most passes over the training split; 40 by default; 8 with --depth last, 5 with full."),
    ),
    "momentum": (float | None, _option(_STEPS, "SGD's momentum; 0.9 by default.")),
    "nesterov": (bool | None, _option(_STEPS, "SGD with Nesterov's momentum.", "--nesterov")),
    "patience": (
        int | None,
        _option(
            _STEPS,
            "Stop after so many epochs without a better validation loss; 5 by default, 0 never stops (the default "
            "where the backbone trains).",
            min=0,
        ),
    ),
    "cut": (
        str | None,
        _option(_BACKBONE, "With last: the first block that trains, such as layer4.0. Default: about the last third."),
    ),
    "augmentation": (
        str | None,
        _option(_BACKBONE, "What varies from epoch to epoch: none, light, medium (the default) or strong."),
    ),
    "flip": (
        bool | None,
        _option(_BACKBONE, "Turn half of the pictures over; not for letters and digits.", "--flip/--no-flip"),
    ),
    "views": (int | None, _option(_BACKBONE, "With last: so many views of each picture; 4 by default.")),
    "layer_decay": (
        float | None,
        _option(_BACKBONE, "Each block's learning rate, as a part of that of the block above it; 0.8 by default."),
    ),
    "unfreeze": (
        float | None,
        _option(_BACKBONE, "Epochs until the next block below trains, too; by default all do from the first."),
    ),
    "warmup": (
        float | None,
        _option(_BACKBONE, "Share of the steps over which the learning rate rises; 0.2 by default."),
    ),
    "clip": (float | None, _option(_BACKBONE, "Largest norm of the gradient, 0 for any; 1 by default.")),
    "accumulation": (int | None, _option(_BACKBONE, "Parts in which a step takes its pictures; 1 by default.")),
    "ema": (float | None, _option(_BACKBONE, "Keep a moving average of the weights, such as 0.99; none by default.")),
    "mixup": (float | None, _option(_BACKBONE, "Blend pairs of pictures, by Beta(a, a); 0 (the default) does not.")),
    "cutmix": (
        float | None,
        _option(_BACKBONE, "Lay a box of one picture over another, by Beta(a, a); 0 (the default) does not."),
    ),
    "batch_norm": (
        str | None,
        _option(_BACKBONE, "Statistics of batch normalisation: frozen, train, or auto: as suits the weights."),
    ),
    "precision": (
        str | None,
        _option(_BACKBONE, "Of products in training: float32, bfloat16, or auto: what is quicker here."),
    ),
    "processes": (
        int | None,
        _option(
            _BACKBONE,
            "Train in so many processes, each with its share of every batch: as one would. Default: one a GPU; on a "
            "processor one.",
        ),
    ),
}
"""The options by hyperparameter; only the seed has one of its own."""

ASSIGNMENTS = COMMAND.but(**{name: name.replace("_", "-") + "=" for name in OPTIONS})
"""What a search calls them, which takes ``lr=0.01`` for ``--lr 0.01``."""


def hyperparameter_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb these options: it gets ``values``, those that were typed by name.

    The options stand where ``values`` stands in the verb's signature.
    """

    def typed(values: dict[str, Any]) -> tuple[dict[str, Any]]:
        return ({name: value for name, value in values.items() if value is not None},)

    return with_table(verb, OPTIONS, ("values",), typed)
