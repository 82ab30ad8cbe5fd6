"""Jobs on SageMaker itself: sent as the documents they are, followed here, their results brought back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, UsageError, VizslaError
from vizsla.files import write_json
from vizsla.jobs import attempt as attempts
from vizsla.jobs.attempt import NEVER_STARTED
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import load
from vizsla.jobs.kinds import kind_of, transform
from vizsla.jobs.output import JobOutput
from vizsla.jobs.pack import ARCHIVE
from vizsla.jobs.sagemaker_account import Account, Clients, code_of, in_words
from vizsla.jobs.sagemaker_document import (
    Request,
    name_at_aws,
    preview_places,
    training_request,
    transform_requests,
)
from vizsla.jobs.sagemaker_results import fetch_outputs, read_logs
from vizsla.jobs.sagemaker_upload import sent_data, upload_code
from vizsla.jobs.slots import Capacity, Share
from vizsla.jobs.spec import BUILTIN, TrainingJobSpec, local_path
from vizsla.jobs.states import State

NOTE = "sagemaker.json"
"""In ``.run``: the job's name at AWS and how far its log was read."""
_LOOK_SECONDS = 5.0
_MANY = 1000
"""Jobs at once: the account's quota is the limit, and AWS says so."""
_STATUS = {
    "CreateTrainingJob": ("describe_training_job", "TrainingJobName", "TrainingJobStatus", "stop_training_job"),
    "CreateTransformJob": ("describe_transform_job", "TransformJobName", "TransformJobStatus", "stop_transform_job"),
}


@dataclass
class _Sent:
    """What ``.run/sagemaker.json`` holds."""

    operation: str
    name: str
    attempt: int
    cursors: dict[str, str] = field(default_factory=dict)
    """How far each stream of the log was read."""


class SageMakerExecutor(Executor):
    """Sends jobs to SageMaker. Code and data go to a bucket, only what changed; status and log are looked at every
    ``look_seconds``; metrics are found in the log by the job's own expressions; the model comes back.

    A job goes on at AWS when its controller ends. After the request to stop, AWS gives it 120 s, whatever the grace is.
    """

    name = "sagemaker"

    def __init__(self, home: Path | None = None, *, look_seconds: float = _LOOK_SECONDS) -> None:
        super().__init__(home)
        self._look_seconds = look_seconds
        self._looked: dict[str, float] = {}
        self._outputs: dict[str, JobOutput] = {}
        self._made: Clients | None = None

    @property
    def _clients(self) -> Clients:
        self._made = self._made or Clients()
        return self._made

    def capacity(self) -> Capacity:
        """See :meth:`vizsla.jobs.executors.base.Executor.capacity`; a machine is counted as one CPU."""
        self._advance()
        return Capacity(_MANY, 0, max(0, _MANY - len(self._jobs)), 0, self._waiting(), (1, 0))

    def preview(self, spec: TrainingJobSpec, name: str) -> Request:
        """What would be sent for a training job, with the places that its code and data would have.

        Raises
        ------
        VizslaError
            When it could not be sent.
        """
        account = Account.read()
        return training_request(spec, account, spec.training_job_name or name, 1, *preview_places(spec, account))

    def _check(self, spec: TrainingJobSpec) -> None:
        command = tuple(spec.algorithm_specification.container_entrypoint or ())
        if command == transform.COMMAND:
            return  # its own document says more: it is looked at when it is sent
        if spec.algorithm_specification.is_builtin and command != BUILTIN:
            raise UsageError(
                "This kind of job does not run at SageMaker.",
                parameter="executor",
                allowed="a training, a script, or a batch transform",
            )
        self.preview(spec, "check")

    def _start(self, job: JobDirectory, spec: TrainingJobSpec, share: Share) -> None:
        attempts.clear(job)
        attempt = job.state.attempts + 1
        account, name = Account.read(), job.name
        bucket, prefix = account.place()
        with in_words(job.name):
            if job.kind == "transform":
                requests = self._transform(job, account, attempt, bucket, prefix)
            else:
                code = upload_code(self._clients.s3, job.code, bucket, prefix) if spec.script else None
                channels = {
                    c.channel_name: sent_data(self._clients.s3, job, c.uri, bucket, prefix)
                    for c in spec.input_data_config
                }
                requests = (training_request(spec, account, name, attempt, code, channels),)
            sent = _Sent(requests[-1].operation, name_at_aws(name, attempt), attempt)
            write_json(job.run / "request.json", requests[-1].parameters)
            write_json(job.run / NOTE, vars(sent))  # before it is sent: what is not there then was never sent
            for request in requests:
                self._send(request)
        job.set_state("InProgress")

    def _send(self, request: Request) -> None:
        method = {"CreateTrainingJob": "create_training_job", "CreateTransformJob": "create_transform_job"}
        getattr(self._clients.sagemaker, method.get(request.operation, "create_model"))(**request.parameters)

    def _transform(
        self, job: JobDirectory, account: Account, attempt: int, bucket: str, prefix: str
    ) -> tuple[Request, ...]:
        document = job.document
        model = str(document["ModelName"])
        archive = local_path(model)
        if self.bucket is not None and archive is not None and archive.name == model:  # a job's name
            self.bucket.fetch(model, f"output/{ARCHIVE}")
            archive = self.home / model
        if archive is not None:
            archive = archive / "output" / ARCHIVE if archive.is_dir() else archive
            if not archive.is_file():
                raise JobError("There is no packed model to send.", where=archive, allowed="a job, or its model.tar.gz")
            model = sent_data(self._clients.s3, job, str(archive), bucket, prefix) + archive.name
        source = sent_data(
            self._clients.s3, job, document["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"], bucket, prefix
        )
        return transform_requests(document, account, job.name, attempt, model, source)

    def _conclude(self, job: JobDirectory, state: State) -> State | None:
        note = load(job.run / NOTE)
        sent = _Sent(**note) if note else None
        is_new = state.status == "Pending"
        if sent is None or sent.attempt != state.attempts + is_new:
            return attempts.write_end(job, state, None, NEVER_STARTED)
        if time.monotonic() - self._looked.get(job.name, float("-inf")) < self._look_seconds:
            return None
        try:
            description = self._describe(job, sent)
        except VizslaError:
            if job.name in self._jobs:
                raise
            return None  # whoever has the rights will say
        if description is None:
            return attempts.write_end(job, state, None, NEVER_STARTED)
        if is_new:
            state = job.set_state("InProgress")
        status = description[_STATUS[sent.operation][2]]
        over = status in ("Completed", "Failed", "Stopped")
        with in_words(job.name):
            self._follow(job, sent)
            self._looked[job.name] = time.monotonic()
            if not over:
                if status == "Stopping" and state.status == "InProgress":
                    job.set_state("Stopping", attempts.stop_reason(job) or None)
                return None
            if status != "Failed":
                fetch_outputs(self._clients.s3, job, description)
        missing = self._output(job, sent).close(tell_missing=status != "Failed")
        self._outputs.pop(job.name, None)
        return _write_end(job, status, description, missing)

    def _describe(self, job: JobDirectory, sent: _Sent) -> dict[str, Any] | None:
        """What AWS says of the job; None where it knows none of this name."""
        method, name, _, _ = _STATUS[sent.operation]
        with in_words(job.name):
            try:
                answer: dict[str, Any] = getattr(self._clients.sagemaker, method)(**{name: sent.name})
            except Exception as error:
                if code_of(error) in ("ValidationException", "ResourceNotFound"):
                    return None
                raise
        return answer

    def _follow(self, job: JobDirectory, sent: _Sent) -> None:
        """Take what was logged since the last look into the job's own log, and look for metrics in it."""
        output = self._output(job, sent)
        for text in read_logs(self._clients.logs, sent.operation, sent.name, sent.cursors):
            output.take(text.encode())
        write_json(job.run / NOTE, vars(sent))

    def _output(self, job: JobDirectory, sent: _Sent) -> JobOutput:
        if job.name not in self._outputs:
            metrics = kind_of(job.kind).spec(job.document).algorithm_specification.metric_definitions
            again = 2 if sent.cursors else sent.attempt  # what another controller found is counted on
            self._outputs[job.name] = JobOutput(job.path, [(d.name, d.regex) for d in metrics or ()], again)
        return self._outputs[job.name]

    def _ask_to_stop(self, job: JobDirectory, grace: float, reason: str | None) -> None:
        attempts.note_stop(job, reason, grace)
        note = load(job.run / NOTE)
        if note is None:
            return
        sent = _Sent(**note)
        with in_words(job.name):
            try:
                getattr(self._clients.sagemaker, _STATUS[sent.operation][3])(**{_STATUS[sent.operation][1]: sent.name})
            except Exception as error:
                if code_of(error) != "ValidationException":  # it is over already
                    raise

    def _kill(self, job: JobDirectory) -> None:
        raise JobError(
            f"Job {job.name!r} is being stopped by AWS, which gives it 120 seconds.",
            where=job.path,
            do=f"`vizsla jobs show {job.name}` tells when it has ended",
        )

    def _still_runs(self, job: JobDirectory) -> bool:
        note = load(job.run / NOTE)
        with contextlib.suppress(VizslaError):
            if note is not None and (answer := self._describe(job, sent := _Sent(**note))) is not None:
                return answer[_STATUS[sent.operation][2]] in ("InProgress", "Stopping")
        return False


def _write_end(job: JobDirectory, status: str, description: dict[str, Any], missing: dict[str, str | None]) -> State:
    reason, wanted = description.get("FailureReason"), attempts.stop_reason(job)
    if status == "Failed":
        words = str(reason or "AWS gives no reason")
        job.write_failure(words + "\n")
        return job.set_state("Failed", words.splitlines()[0], missing_metrics=missing)
    if status == "Stopped":
        if description.get("SecondaryStatus") == "MaxRuntimeExceeded":
            words = "it ran longer than StoppingCondition.MaxRuntimeInSeconds allows"
        else:
            words = wanted or "stopped at AWS"
        return job.set_state("Stopped", words, missing_metrics=missing)
    return job.set_state("Completed", None, missing_metrics=missing)


EXECUTOR = SageMakerExecutor
