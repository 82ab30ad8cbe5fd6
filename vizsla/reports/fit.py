"""The page that ``vizsla fit`` ends with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from vizsla.data import SPLITS, Dataset
from vizsla.errors import ImageError
from vizsla.evaluation import Evaluation
from vizsla.images import Limits, decode, read_file
from vizsla.reports import charts
from vizsla.reports.evaluation import parts
from vizsla.reports.render import render, thumbnail
from vizsla.training.config import LbfgsConfig
from vizsla.training.trained import TrainedHead

_SHOWN = 12
_THUMBNAIL = 160


@dataclass(frozen=True)
class FitReport:
    """What the page tells.

    ``rows`` are the dataset's rows that were evaluated, ``probabilities`` (len(rows), classes) what the model
    says of them; ``usable`` (bool, (n,)) marks the pictures that were read.
    """

    job: str
    created: str
    dataset: Dataset
    backbone: str
    weights: str
    trained: TrainedHead
    evaluation: Evaluation
    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    damaged: dict[int, ImageError]
    usable: npt.NDArray[np.bool_]
    warnings: Sequence[str]
    facts: Sequence[tuple[str, str]]
    prospects: tuple[str, Sequence[str], Sequence[Sequence[str]]]
    """What backbones and depths were compared before: a title, columns and rows, perhaps none."""
    seconds: Sequence[tuple[str, float]]
    commands: Sequence[str]
    seed: int


def page(report: FitReport) -> str:
    """The whole page as HTML, pictures included."""
    evaluation, dataset = report.evaluation, report.dataset
    predicted = report.probabilities.argmax(axis=1)
    truth = dataset.labels[report.rows]
    sure = report.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:_SHOWN]
    right = np.random.default_rng(report.seed).permutation(np.flatnonzero(predicted == truth))[:_SHOWN]
    return render(
        "fit.html.j2",
        job=report.job,
        created=report.created,
        dataset={"name": dataset.name, "images": len(dataset), "classes": len(dataset.classes)},
        backbone={"name": report.backbone, "weights": report.weights},
        warnings=report.warnings,
        e=parts(evaluation, dataset.counts(report.usable)[:, :2]),
        training_charts=_path_charts(report.trained) if report.trained.path else _epoch_charts(report.trained),
        training_words=_training_words(report.trained),
        wrong=[_picture(report, int(at)) for at in wrong],
        right=[_picture(report, int(at)) for at in right],
        damaged=[
            {"path": dataset.paths[row], "split": SPLITS[dataset.splits[row]], "kind": error.kind, "what": error.what}
            for row, error in report.damaged.items()
        ],
        facts=report.facts,
        prospects=report.prospects,
        seconds=report.seconds,
        commands="\n".join(report.commands),
    )


def _epoch_charts(trained: TrainedHead) -> list[tuple[str, Markup]]:
    history = trained.history
    if len(history) < 2:
        return []
    epochs, best = [m.epoch for m in history], float(trained.best_epoch)
    loss = [
        charts.Series("train", epochs, [m.train_loss for m in history]),
        charts.Series("validation", epochs, [m.valid_loss for m in history]),
    ]
    accuracy = [charts.Series("validation", epochs, [m.valid_accuracy for m in history])]
    return [
        ("Loss", charts.lines(loss, x_label="epoch", y_label="loss (nats)", marker=best, marker_label="kept")),
        (
            "Accuracy on the validation split",
            charts.lines(accuracy, x_label="epoch", y_label="accuracy", marker=best, marker_label="kept"),
        ),
    ]


def _path_charts(trained: TrainedHead) -> list[tuple[str, Markup]]:
    path = sorted(trained.path, key=lambda point: point.weight_decay)
    powers = [math.log10(point.weight_decay) for point in path]
    chosen = math.log10(trained.config.weight_decay or 1)
    label = "strength of decay, as a power of 10"
    return [
        (
            title,
            charts.lines(
                [charts.Series("held-out pictures", powers, values)],
                x_label=label,
                y_label=y_label,
                marker=chosen,
                marker_label="kept",
            ),
        )
        for title, y_label, values in (
            ("Loss by the strength of decay", "loss (nats)", [point.loss for point in path]),
            ("Accuracy by the strength of decay", "accuracy", [point.accuracy for point in path]),
        )
    ]


def _training_words(trained: TrainedHead) -> str:
    config, last = trained.config, trained.history[-1].epoch
    if isinstance(config, LbfgsConfig):
        return _optimum_words(trained)
    choice = f"epoch {trained.best_epoch}, the one with the lowest validation loss, was kept"
    if config.patience is None:
        choice = f"epoch {trained.best_epoch} was kept"
    return {
        "epochs": f"All {last} epochs were used; {choice}.",
        "patience": f"Stopped after epoch {last}: {config.patience} epochs brought nothing better; {choice}.",
        "watcher": f"Stopped after epoch {last} of {config.epochs}{_stop_words(trained)}; {choice}.",
        "divergence": f"Stopped after epoch {last}, whose loss is no number; {choice}.",
    }[trained.stopped_by]


def _stop_words(trained: TrainedHead) -> str:
    return "" if trained.stop is None else f" by {trained.stop.by}: {trained.stop.reason}"


def _optimum_words(trained: TrainedHead) -> str:
    ends = {
        "convergence": "The head is at the optimum of its problem",
        "precision": "The head is at the optimum of its problem, as near as 32-bit numbers tell",
        "watcher": f"The head was stopped on the way to its optimum{_stop_words(trained)}",
    }
    words = ends.get(trained.stopped_by, "The head is near the optimum of its problem")
    words += f": logistic regression, {trained.iterations:,} iterations."
    if trained.path:
        first = trained.path[0]
        folds = f", {first.folds} folds of the training split among them" if first.folds else ""
        words += (
            f" Of {len(trained.path)} strengths of decay, {trained.config.weight_decay:g} had the lowest loss on "
            f"{first.pictures:,} pictures held out from training{folds}."
        )
    return words


def _picture(report: FitReport, at: int) -> dict[str, Any]:
    row = int(report.rows[at])
    predicted = int(report.probabilities[at].argmax())
    truth = int(report.dataset.labels[row])
    limits = Limits.from_settings()
    try:
        image = thumbnail(decode(read_file(report.dataset.path(row), limits), limits, short_side=_THUMBNAIL).image)
    except ImageError:  # it could be read a moment ago
        image = ""
    return {
        "image": image,
        "path": report.dataset.paths[row],
        "truth": report.dataset.classes[truth],
        "predicted": report.dataset.classes[predicted],
        "probability": float(report.probabilities[at, predicted]),
        "right": predicted == truth,
    }
