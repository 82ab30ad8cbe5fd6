"""Trainers that search, and what they leave in the job."""

from __future__ import annotations

from collections.abc import Iterable

from vizsla.files import write_bytes, write_json
from vizsla.jobs.directory import JobDirectory
from vizsla.training.trainer import Trainer
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult
from vizsla.tuning.search import Runner, SearchEnd, search
from vizsla.tuning.study import Study
from vizsla.workflow.observer import Observer

SUMMARY, TABLE = "tuning.json", "trials.csv"


class Search(Trainer):
    """A trainer that runs trials; ``result`` is what it found. Started again in the same job, it goes on.

    Parameters
    ----------
    deadline:
        A moment of ``time.monotonic()``.
    """

    result: SearchResult

    def __init__(
        self, job: JobDirectory, request: SearchRequest, observer: Observer, deadline: float | None = None
    ) -> None:
        super().__init__(job.checkpoints)
        self._job, self._request, self._observer, self._deadline = job, request, observer, deadline

    @property
    def phase(self) -> tuple[str, int | None]:
        return "search", self._request.limits.trials

    def _run(self, study: Study, notes: Iterable[str], runner: Runner) -> SearchEnd:
        """Run trials until the search ends, within sight of whoever watches."""
        request, observer = self._request, self._observer
        for note in notes:
            observer.note(note)
        return search(
            study,
            runner,
            request.limits,
            deadline=self._deadline,
            watch=lambda trials: observer.trials(trials, request.objective),
        )


def write_result(job: JobDirectory, result: SearchResult) -> None:
    """Leave the table and the summary in the job's output."""
    write_json(job.output / SUMMARY, result.to_dict())
    write_bytes(job.output / TABLE, result.analytics().csv().encode())
