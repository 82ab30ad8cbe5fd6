"""A search that SageMaker runs: sent as one CreateHyperParameterTuningJob, followed to its end, its best model brought
back."""

from __future__ import annotations

import time
from typing import Any

from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs import source_code
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import load
from vizsla.jobs.here import AskedToStop
from vizsla.jobs.sagemaker_account import Account, Clients, code_of, in_words
from vizsla.jobs.sagemaker_document import Request, preview_places
from vizsla.jobs.sagemaker_results import fetch_outputs
from vizsla.jobs.sagemaker_upload import sent_data, upload_code
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult, winner_of
from vizsla.tuning.sagemaker_request import trial_records, tuning_request
from vizsla.tuning.space import Space
from vizsla.workflow.observer import Observer
from vizsla.workflow.study import keep_trials, kept_trials

_NOTE = "sagemaker.json"
"""In ``.run``: the search's name at AWS, the attempt, and how many trials earlier attempts made."""
_LOOK_SECONDS = 5.0
_OVER = ("Completed", "Failed", "Stopped")


def preview(search: SearchRequest, space: Space, spec: TrainingJobSpec, name: str) -> Request:
    """What would be sent, with the places that its code and data would have.

    Raises
    ------
    UsageError
        When it could not be sent.
    """
    account = Account.read()
    return tuning_request(search, space, spec, account, name, *preview_places(spec, account))


class SageMakerSearch:
    """One run of a search there, as a job that is followed in this process.

    Parameters
    ----------
    spec:
        What each trial is, without the searched hyperparameters.
    """

    def __init__(
        self,
        search: SearchRequest,
        space: Space,
        spec: TrainingJobSpec,
        job: JobDirectory,
        observer: Observer,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._search, self._space, self._spec = search, space, spec
        self._job, self._observer, self._look_seconds = job, observer, look_seconds
        self._clients = Clients()

    def run(self) -> SearchResult:
        """Send it, or go on with one that was sent, and follow it.

        Raises
        ------
        VizslaError
            When AWS refuses, no trial was completed, or the credentials expire: the search then goes on at AWS.
        """
        began = time.monotonic()
        with in_words(self._job.name, self._job.resume_command):
            try:
                name = self._sent()
                self._observer.note(f"the search is {name} at SageMaker")
                self._observer.stage("trials", self._search.limits.trials)
                description = self._follow(name)
            except (KeyboardInterrupt, AskedToStop):
                self._stop()
                raise
            return self._result(description, time.monotonic() - began)

    def _sent(self) -> str:
        """The name there of the search that goes on, or has ended well; else of one that is sent now."""
        note = load(self._job.run / _NOTE) or {"name": None, "attempt": 0, "before": 0}
        if note["name"] is not None:
            try:
                if self._describe(note["name"])["HyperParameterTuningJobStatus"] not in ("Failed", "Stopped"):
                    return str(note["name"])
            except Exception as error:
                if code_of(error) != "ResourceNotFound":
                    raise
                note["name"] = None  # written down, and never sent
        before = [trial for trial in kept_trials(self._job) if trial.ended]
        keep_trials(self._job, before)
        request = self._request(note["attempt"] + 1, self._search.limits.trials - len(before), note["name"])
        name = str(request.parameters["HyperParameterTuningJobName"])
        write_json(self._job.run / "request.json", request.parameters)
        write_json(self._job.run / _NOTE, {"name": name, "attempt": note["attempt"] + 1, "before": len(before)})
        self._clients.sagemaker.create_hyper_parameter_tuning_job(**request.parameters)
        return name

    def _request(self, attempt: int, trials: int, parent: str | None) -> Request:
        account = Account.read()
        bucket, prefix = account.place()
        code = None
        if self._spec.script is not None:
            with source_code.opened(self._spec.script[0]) as folder:
                source_code.check_script(folder, self._spec.script[1])
                code = upload_code(self._clients.s3, folder, bucket, prefix)
        channels = {
            channel.channel_name: sent_data(self._clients.s3, self._job, channel.uri, bucket, prefix)
            for channel in self._spec.input_data_config
        }
        return tuning_request(
            *(self._search, self._space, self._spec, account, self._job.name, code, channels),
            attempt=attempt,
            trials=max(1, trials),
            parent=parent,
        )

    def _follow(self, name: str) -> dict[str, Any]:
        """Until it has ended; what AWS says of it then."""
        before = kept_trials(self._job)[: int((load(self._job.run / _NOTE) or {}).get("before", 0))]
        while True:
            description = self._describe(name)
            rows = self._clients.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
            pages = rows.paginate(HyperParameterTuningJobName=name)
            trials = trial_records([row for page in pages for row in page["TrainingJobSummaries"]], self._space, before)
            if trials != kept_trials(self._job):
                keep_trials(self._job, trials)
                self._observer.trials(trials, self._search.objective)
            if description["HyperParameterTuningJobStatus"] in _OVER:
                return description
            time.sleep(self._look_seconds)

    def _stop(self) -> None:
        name = (load(self._job.run / _NOTE) or {}).get("name")
        if name is None:
            return
        try:
            self._clients.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        except Exception as error:
            if code_of(error) not in ("ResourceNotFound", "ValidationException"):  # never sent, or over
                raise

    def _describe(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._clients.sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )
        return answer

    def _result(self, description: dict[str, Any], seconds: float) -> SearchResult:
        status = description["HyperParameterTuningJobStatus"]
        trials = tuple(kept_trials(self._job))
        reason = str(description.get("FailureReason") or f"SageMaker says {status}")
        if status == "Stopped":
            raise JobError(
                f"The search was stopped at SageMaker after {len(trials)} trials.",
                where=description["HyperParameterTuningJobName"],
                do=f"`{self._job.resume_command}` goes on with it in a new one, which learns from these",
            )
        winner = winner_of(trials, self._search.objective, self._job.path, reason)
        best = self._clients.sagemaker.describe_training_job(TrainingJobName=winner.name)
        fetch_outputs(self._clients.s3, self._job, best)
        return SearchResult(
            name=self._job.name,
            space=self._space,
            objective=self._search.objective,
            trials=trials,
            best=winner,
            verdict=None,
            reason=reason,
            importances={},
            seconds=seconds,
            cost_unit="seconds",
        )
