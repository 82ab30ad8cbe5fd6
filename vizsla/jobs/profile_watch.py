"""The profiler's rules over a job while it runs; what they find is in ``output/findings.jsonl``."""

from __future__ import annotations

import time
from collections.abc import Callable

from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.findings import append_findings, read_profile_findings
from vizsla.jobs.profiled import rule_parameters
from vizsla.profiling.layout import output_of

_FIRST_SECONDS, _SECONDS, _SHARE = 15.0, 20.0, 50.0
"""Until the first look; between two; and times what the last look took: it takes a fiftieth of a core at most."""


class ProfileWatch:
    """Looks every twenty seconds, once a network trains. Each rule speaks once.

    Parameters
    ----------
    note:
        Told when the rules could not be asked.
    """

    def __init__(self, job: JobDirectory, note: Callable[[str], None]) -> None:
        self._job, self._note = job, note
        self._due = time.monotonic() + _FIRST_SECONDS
        self._spoke: set[str] | None = None

    def look(self) -> None:
        """Ask the rules, if it is time to. Nothing that goes wrong here is the job's failure."""
        began = time.monotonic()
        if began < self._due:
            return
        self._due = began + _SECONDS
        if not any((output_of(self._job.path) / "framework").glob("*.segments")):
            return
        try:
            self._look()
        except Exception as error:  # noqa: BLE001
            self._note(f"the profiler's rules could not be asked: {type(error).__name__}: {error}")
        now = time.monotonic()
        self._due = now + max(_SECONDS, _SHARE * (now - began))

    def _look(self) -> None:
        from vizsla.profiling.evaluation import evaluate, findings_of
        from vizsla.profiling.profile import JobProfile

        if self._spoke is None:  # an earlier controller's words
            self._spoke = {finding.rule for finding in read_profile_findings(self._job.output)}
        results = evaluate(JobProfile(self._job.path), rule_parameters(self._job.document))
        new = [finding for finding in findings_of(results) if finding.rule not in self._spoke]
        append_findings(self._job.output, new)
        self._spoke |= {finding.rule for finding in new}
