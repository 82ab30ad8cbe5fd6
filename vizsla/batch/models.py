"""What answers: the engine itself, or a model's own code in processes of its own."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vizsla.batch.document import TransformJob, is_picture
from vizsla.batch.records import parse, picture_of
from vizsla.errors import UsageError
from vizsla.files import sha256_file, sha256_json
from vizsla.images import Limits
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.parameters import spelled
from vizsla.serving.answers import Answer, Form, Labels, choose_form
from vizsla.serving.entry import has_code
from vizsla.serving.faults import RequestError
from vizsla.serving.toolkit import CodeModel

ALLOW_CODE = "VIZSLA_ALLOW_CODE"


class Answering(Protocol):
    """A model that answers one body at a time, from ``threads`` threads at once."""

    identity: str
    """Tells this model from all others: what an interrupted job goes on with."""
    classes: tuple[str, ...] | None
    """In the order of the probabilities; None for a model's own code."""
    threads: int

    def answer(self, body: bytes, content_type: str) -> tuple[bytes, str, npt.NDArray[np.float32] | None]:
        """The answer as the endpoint would give it, its content type, and the probabilities (classes,) behind it, where
        they are known.

        Raises
        ------
        ImageError, RequestError
            When this body has no answer.
        """
        ...

    def close(self) -> None:
        """Let go of what was loaded."""
        ...


class EngineModel:
    """A saved model: decoded and run on one core a picture, as many at a time as there are cores.

    The same calls in the same order as the endpoint's, so that the answers are the same bytes.
    """

    def __init__(self, saved: artifact.SavedModel, form: Form, threads: int) -> None:
        card = saved.card
        self.identity = f"{card.backbone.sha256} {card.head_sha256}"
        self.classes: tuple[str, ...] | None = tuple(card.classes)
        self.threads = threads
        self._labels, self._form = Labels(self.classes), form
        self._preprocessing, self._head = saved.preprocessing, saved.head
        self._engine = OnnxEngine(saved.backbone, threads=1)
        self._engine.check(card.preprocessing.size, card.backbone.features)
        self._limits = Limits.from_settings()

    def answer(self, body: bytes, content_type: str) -> tuple[bytes, str, npt.NDArray[np.float32]]:
        """See :class:`Answering`."""
        if not is_picture(content_type):
            body = picture_of(parse(body))
        decoded = self._preprocessing.open(body, self._limits)
        pixels = self._preprocessing.apply(decoded.image, decoded.full_size)
        probabilities = self._head.probabilities(self._engine.features(pixels[None]))[0]
        answer = Answer(probabilities, warning=decoded.warning())
        return self._form.write([answer], self._labels, False), self._form.content_type, probabilities

    def close(self) -> None:
        """Nothing to do."""


class OwnCode:
    """A model's own ``inference.py``, in ``threads`` processes that take one body at a time each.

    Raises
    ------
    RequestError
        When the code cannot be started.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, path: Path, accept: str, threads: int) -> None:
        self.identity = sha256_file(path) if path.is_file() else _folder_identity(path)
        self.threads = threads
        self._accept = accept
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="own-code", daemon=True)
        self._thread.start()
        self._idle: queue.SimpleQueue[CodeModel] = queue.SimpleQueue()
        self._models = [CodeModel(path.name, str(path), path, lambda: None) for _ in range(threads)]
        try:
            for model in self._models:
                self._wait(model.start())
                self._idle.put(model)
        except BaseException:
            self.close()
            raise

    def answer(self, body: bytes, content_type: str) -> tuple[bytes, str, None]:
        """See :class:`Answering`."""
        model = self._idle.get()
        try:
            return *self._wait(model.invoke(body, content_type, self._accept, {"vizsla.headers": {}})), None
        finally:
            self._idle.put(model)

    def close(self) -> None:
        """End the processes."""
        for model in self._models:
            self._loop.call_soon_threadsafe(model.stop)
        self._wait(_settled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for model in self._models:
            model.remove()

    def _wait(self, talk: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(talk, self._loop).result()


async def _settled() -> None:
    await asyncio.sleep(0.1)  # for the processes' ends to be seen


def _folder_identity(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_json([[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def open_model(job: TransformJob, path: Path, cores: int) -> Answering:
    """The model of a job, found at ``path``.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    UsageError
        When it brings its own code and that is not allowed, or the form of its answers is unknown.
    """
    if check_code(job, path):
        accept = job.transform_output.accept
        form = accept if accept and job.table is None else "application/json"
        return OwnCode(path, form, job.max_concurrent_transforms or 1)
    saved = artifact.load(path)
    return EngineModel(saved, form_of(job), job.max_concurrent_transforms or cores)


def check_code(job: TransformJob, path: Path) -> bool:
    """Whether the model at ``path`` brings its own code.

    Raises
    ------
    UsageError
        When it does and that is not allowed.
    """
    if not has_code(path):
        return False
    if (job.environment or {}).get(ALLOW_CODE, os.environ.get(ALLOW_CODE, "")) in ("", "0", "false"):
        raise UsageError(
            "The model brings its own code, which is not run unless allowed.",
            where=path,
            do=f"{spelled('allow_code', True)} if you trust this model",
        )
    return True


def form_of(job: TransformJob) -> Form:
    """How the engine's answers are written.

    Raises
    ------
    UsageError
        For a form that there is not.
    """
    try:
        return choose_form(None if job.table else job.transform_output.accept, json_asked=False)
    except RequestError as error:
        raise UsageError(error.what, parameter="accept", allowed=error.allowed) from error
