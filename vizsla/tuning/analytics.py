"""A search as a table, with the column names of SageMaker's ``HyperparameterTuningJobAnalytics``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from vizsla.optional import data_frame
from vizsla.tuning.space import Space
from vizsla.tuning.trials import TrialRecord, iso

COLUMNS = (
    "TrainingJobName",
    "TrainingJobStatus",
    "FinalObjectiveValue",
    "TrainingStartTime",
    "TrainingEndTime",
    "TrainingElapsedTimeSeconds",
)


class TuningAnalytics:
    """The trials of a search, the hyperparameters' columns first, as SageMaker's analytics has them."""

    def __init__(self, name: str, trials: Sequence[TrialRecord], space: Space) -> None:
        self.name = name
        self.trials = tuple(trials)
        self._space = space

    def __repr__(self) -> str:
        return f"TuningAnalytics({self.name!r}, {len(self.trials)} trials)"

    @property
    def tuning_ranges(self) -> dict[str, dict[str, Any]]:
        """The ranges by parameter, as in SageMaker's ``ParameterRanges``."""
        document = self._space.to_dict()
        return {
            entry["Name"]: entry for key, entries in document.items() if key.endswith("Ranges") for entry in entries
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a trial; times are aware datetimes, None where there is none."""
        return [
            dict(trial.params)
            | {
                "TrainingJobName": trial.name,
                "TrainingJobStatus": trial.status,
                "FinalObjectiveValue": trial.value,
                "TrainingStartTime": _moment(trial.start),
                "TrainingEndTime": _moment(trial.end),
                "TrainingElapsedTimeSeconds": trial.seconds,
            }
            for trial in self.trials
        ]

    def dataframe(self) -> Any:
        """A ``pandas.DataFrame`` of :meth:`rows`.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        return data_frame(self.rows(), [*self._space.parameters, *COLUMNS])

    def csv(self) -> str:
        """:meth:`rows` as CSV text, times as ISO 8601 in UTC."""
        text = io.StringIO()
        table = csv.DictWriter(text, [*self._space.parameters, *COLUMNS])
        table.writeheader()
        for trial, row in zip(self.trials, self.rows(), strict=True):
            table.writerow(row | {"TrainingStartTime": iso(trial.start), "TrainingEndTime": iso(trial.end)})
        return text.getvalue()


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
