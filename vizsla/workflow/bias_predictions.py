"""Predictions for the rows of a table that has none: a model is asked, row by row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from vizsla.batch.inputs import at_address
from vizsla.errors import UsageError
from vizsla.evaluation.bias.analysis_config import AnalysisConfig
from vizsla.evaluation.bias.columns import find_column
from vizsla.jobs.spec import local_path
from vizsla.workflow.predictor import AskedModel, Predictor
from vizsla.workflow.saved_model import locate

Cells = dict[str, list[object]]
COLUMN = "predicted_label"
"""What the column of the predictions is called."""


def with_predictions(
    cells: Cells, config: AnalysisConfig, model: str, folder: Path, *, allow_code: bool
) -> tuple[Cells, AnalysisConfig]:
    """The table with a column of what a model says of its rows, and the configuration that names it.

    Parameters
    ----------
    folder:
        That of the table: where the pictures of its rows lie whose addresses are relative.

    Raises
    ------
    DataError
        When a row has no answer that can be read.
    UsageError
        When nothing says what the model is sent.
    """
    predictor = Predictor.of(config.predictor or {})
    bodies, excluded = _bodies(cells, config, predictor, folder)
    asked = AskedModel(locate(model), predictor, allow_code=allow_code)
    try:
        answers = asked.ask(bodies)
        found = [predictor.prediction(one, asked.classes, config.probability_threshold) for one in answers]
    finally:
        asked.close()
    changes = {"predicted_label": COLUMN, "excluded_columns": excluded}
    return cells | {COLUMN: [str(one) for one in found]}, config.model_copy(update=changes)


def _bodies(
    cells: Cells, config: AnalysisConfig, predictor: Predictor, folder: Path
) -> tuple[Sequence[bytes], list[str | int]]:
    """What the model is sent for each row; the columns that are no features."""
    names = list(cells)
    excluded = list(config.excluded_columns or [])
    if predictor.takes_pictures:
        if config.features is None:
            raise UsageError(
                f"The model takes pictures ({predictor.content_type}), and no column says which.",
                where="features",
                allowed=", ".join(names),
                do="name the column of their paths or addresses: DataConfig(features=...)",
            )
        column = find_column(names, config.features, "features")
        return [_picture(str(address), folder) for address in cells[column]], [*excluded, column]
    no_feature = [config.label, config.joinsource_name_or_index, *excluded]
    left_out = {find_column(names, one, "excluded_columns") for one in no_feature if one is not None}
    features = [name for name in names if name not in left_out]
    rows = [dict(zip(features, row, strict=True)) for row in zip(*(cells[name] for name in features), strict=True)]
    return [_record(row, predictor) for row in rows], config.excluded_columns or []


def _picture(address: str, folder: Path) -> bytes:
    path = local_path(address)
    return at_address(address if path is None else str(folder / path))


def _record(row: dict[str, object], predictor: Predictor) -> bytes:
    if predictor.content_type == "text/csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row.values())
        return text.getvalue().encode()
    values = {name: _value(value) for name, value in row.items()}
    if predictor.content_template is None:
        raise UsageError(
            f"Nothing says how a row is written as {predictor.content_type}.",
            where="predictor.content_template",
            allowed='such as {"features": $features}; text/csv needs none',
        )
    filled = predictor.content_template.replace("$features", json.dumps(list(values.values())))
    return filled.replace("$record", json.dumps(values)).encode()


def _value(cell: object) -> object:
    try:
        return json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        return cell
