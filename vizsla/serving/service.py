"""The one function behind every door: a body and a model's name to an answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizsla.serving.answers import Answer, choose_form
from vizsla.serving.backbones import ServedModel
from vizsla.serving.bodies import FetchPictures, Picture, is_json, read_pictures, refuse_encoding
from vizsla.serving.capture import Capture
from vizsla.serving.faults import RequestError, as_request_error
from vizsla.serving.pool import Pool
from vizsla.serving.telemetry import RequestRecord
from vizsla.serving.toolkit import CodeModel
from vizsla.serving.traffic import Choice, Traffic
from vizsla.serving.workers import Task, Workers

_ACCEPT = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
"""What own code is asked for when the client has no wish (the inference toolkit's environment.py)."""


@dataclass(frozen=True)
class Invocation:
    """What a client asks. ``target`` is the model's name, None for the server's default."""

    target: str | None
    body: bytes
    content_type: str
    accept: str | None
    explain: bool = False
    encoding: str = ""


@dataclass(frozen=True)
class Service:
    """The models, the workers, and what the server was told. ``default`` is the model of requests that name none."""

    pool: Pool
    workers: Workers
    fetch: FetchPictures
    default: str | None
    endpoint_name: str | None = None
    variant: str = "AllTraffic"
    traffic: Traffic | None = None
    capture: Capture | None = None

    def choose(self, variant: str | None) -> Choice:
        """The variant that answers; ``variant`` is the one that the request names.

        Raises
        ------
        RequestError
            ``variant-unknown``.
        """
        if self.traffic is not None:
            return self.traffic.choose(variant)
        if variant not in (None, self.variant):
            raise RequestError("variant-unknown", f"There is no variant {variant!r}.", allowed=self.variant)
        return Choice(self.variant)

    def note(self, choice: Choice, *, failed: bool, seconds: float) -> None:
        """A variant has answered, or failed by no fault of the client's."""
        if self.traffic is not None:
            self.traffic.note(choice, failed=failed, seconds=seconds)

    def target(self, name: str | None) -> str:
        """The model that a request is for.

        Raises
        ------
        RequestError
            ``target-needed`` when it names none and there is no default.
        """
        target = name or self.default
        if target is None:
            raise RequestError(
                "target-needed",
                "This endpoint serves many models, and the request names none.",
                where="header X-Amzn-SageMaker-Target-Model",
                allowed="the model's path below the models' folder, such as dogs/model.tar.gz",
            )
        return target

    async def check_default(self) -> None:
        """Raise RequestError ``code-failed`` when the default model's own code ended and could not be started again."""
        model = await self.pool.find(self.default) if self.default is not None else None
        if isinstance(model, CodeModel) and not model.starts:
            raise RequestError(
                "code-failed",
                "The model's code could not be started again.",
                do="see the answer to a request, which tries it once more, or the log",
            )

    async def invoke(
        self, invocation: Invocation, record: RequestRecord, scope: Mapping[str, Any], *, load: bool = True
    ) -> tuple[bytes, str]:
        """Answer; returns the answer's bytes and content type.

        Raises
        ------
        RequestError, ImageError, ModelError
            What was wrong with the request, a picture or the model.
        """
        target = record.model = self.target(invocation.target)
        async with self.pool.use(target, load=load) as model:
            if not isinstance(model, ServedModel):
                return await self._own_code(model, invocation, record, scope)
            form = choose_form(
                invocation.accept, json_asked=is_json(invocation.content_type), explain=invocation.explain
            )
            refuse_encoding(invocation.encoding)
            pictures, several = await read_pictures(invocation.body, invocation.content_type, self.fetch)
            answers = await self._classify(pictures, model, invocation.explain, record, scope)
            record.classes = None if form.explains else model.labels.header
            return form.write(answers, model.labels, several), form.content_type

    async def _own_code(
        self, model: CodeModel, invocation: Invocation, record: RequestRecord, scope: Mapping[str, Any]
    ) -> tuple[bytes, str]:
        start = time.perf_counter()
        accept = invocation.accept
        if not accept or accept == "*/*":
            accept = os.environ.get(_ACCEPT, "application/json")
        answer = await model.invoke(invocation.body, invocation.content_type, accept, scope)
        record.work_seconds = time.perf_counter() - start
        return answer

    async def _classify(
        self,
        pictures: list[Picture],
        model: ServedModel,
        explain: bool,
        record: RequestRecord,
        scope: Mapping[str, Any],
    ) -> list[Answer]:
        queued = time.perf_counter()
        tasks = self.workers.submit(pictures, model, scope, explain=explain)
        if len(tasks) == 1:
            answers = [await tasks[0].future]
        else:
            answers = await _all(tasks)
        record.pictures = len(tasks)
        record.broken = tuple(place for place, answer in enumerate(answers) if answer.warning)
        record.wait_seconds = tasks[0].taken - queued
        record.work_seconds = tasks[-1].finished - tasks[0].taken
        return answers


async def _all(tasks: list[Task]) -> list[Answer]:
    """Every answer, or the first error with the place of its picture."""
    results = await asyncio.gather(*(task.future for task in tasks), return_exceptions=True)
    for place, result in enumerate(results):
        if isinstance(result, BaseException):
            error = as_request_error(result)
            if error.kind == "internal":
                raise result
            raise RequestError(
                error.kind, f"Picture {place}: {error.what}", where=error.where, allowed=error.allowed, do=error.do
            ) from result
    return [result for result in results if isinstance(result, Answer)]
