"""Models that bring their own code: each runs in a worker process of its own.

The process is started when the model is loaded, restarted when it dies, ended when it takes too long. Whatever the code
does (prints, leaks, crashes), the server and the other models are not touched by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from vizsla.serving.code_folder import CodeFolder
from vizsla.serving.entry import REQUIREMENTS, entry_script
from vizsla.serving.faults import ClientGoneError, RequestError
from vizsla.serving.memory import folder_bytes, resident_bytes
from vizsla.serving.worker import Said, Worker

ANSWER_SECONDS = 60.0
"""What SageMaker gives a container for an answer."""
START_SECONDS = 240.0
INSTALL_SECONDS = 900.0
"""More time for the start of code that names packages, which are installed first if they are not yet."""
MAX_WAITING = 32
"""Requests that wait for one model's code, which takes one at a time."""

_KEY_HEADERS = frozenset(("authorization", "x-api-key", "cookie", "x-amz-security-token"))


class CodeModel:
    """A model served by its own code. Its answers go to the client as they are.

    ``check`` is called while an archive is unpacked, and raises to give that up.
    """

    def __init__(self, name: str, url: str, path: Path, check: Callable[[], None]) -> None:
        self.name = name
        self.url = url
        self._unpacked = CodeFolder(path, check)
        self._unpacked_bytes = folder_bytes(self._unpacked.model)
        self._worker: Worker | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._starting = False
        self._stopped = False
        self.starts = True
        """Whether the code could be started the last time that this was tried."""

    @property
    def nbytes(self) -> int:
        """What was unpacked, and what the worker process has resident now."""
        return self._unpacked_bytes + (resident_bytes(self.pid) if self.pid else 0)

    async def invoke(self, body: bytes, content_type: str, accept: str, scope: Mapping[str, Any]) -> tuple[bytes, str]:
        """Ask the code; returns its answer and the answer's content type. ``scope`` says when the client has gone.

        Raises
        ------
        RequestError
            ``code-failed`` with the code's own words, ``code-refused`` with the status that it set, ``code-died``,
            ``code-too-slow``, ``overloaded`` when too many wait already or the turn did not come in time.
        ClientGoneError
            When the client left before the turn came: the code is not asked for nobody.
        """
        if self._waiting >= MAX_WAITING:
            raise _busy(f"{self._waiting} requests wait for the model's code already.")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ANSWER_SECONDS
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError as error:
            if self._starting:
                raise still_starting(self.name) from error
            raise _busy(f"The model's code was busy with other requests for {ANSWER_SECONDS:g} s.") from error
        finally:
            self._waiting -= 1
        asking: asyncio.Task[tuple[bytes, str]] | None = None
        try:
            if scope.get("vizsla.gone"):
                raise ClientGoneError
            if self.pid is None:
                await self._start()
                if scope.get("vizsla.gone"):
                    raise ClientGoneError
                deadline = loop.time() + ANSWER_SECONDS  # the load of the model is not the answer's time
            asking = loop.create_task(self._ask(body, content_type, accept, _visible_headers(scope)))
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(asking)
        except TimeoutError as error:  # after a wait the code may still be well within its time: it is left to finish
            raise _too_slow() from error
        except asyncio.CancelledError:
            self._kill()  # half an exchange is on the pipe
            raise
        finally:
            if asking is None or asking.done():
                self._turn.release()
            else:
                asking.add_done_callback(self._end_turn)

    def _end_turn(self, asking: asyncio.Task[tuple[bytes, str]]) -> None:
        self._turn.release()
        if not asking.cancelled():
            asking.exception()  # nobody waits for it

    async def _ask(self, body: bytes, content_type: str, accept: str, headers: dict[str, str]) -> tuple[bytes, str]:
        worker = self._worker
        if worker is None:
            raise EOFError
        header = {"content_type": content_type, "accept": accept, "headers": headers, "size": len(body)}
        ended = "The process of the model's code ended (exit code {code})."
        do = "send the request again: a new process is started for it"
        answer, content = await self._exchange(worker, worker.ask(header, body), ANSWER_SECONDS, _too_slow(), ended, do)
        return content, str(answer["content_type"])

    async def _exchange(
        self,
        worker: Worker,
        talk: Awaitable[Said],
        seconds: float,
        too_slow: RequestError,
        ended: str,
        do: str | None = None,
    ) -> Said:
        """What the process answers in that time; one that does not is ended. ``ended`` are words for one that died."""
        try:
            async with asyncio.timeout(seconds):
                answer, content = await talk
        except TimeoutError as error:
            self._kill()
            raise too_slow from error
        except (OSError, EOFError, ValueError) as error:
            self._kill()
            words = ended.format(code=await worker.exit_code())
            raise RequestError("code-died", words, where=entry_script(), do=do) from error
        if answer["status"] != 200:
            kind = str(answer["kind"])
            raise RequestError(
                kind,
                content.decode("utf-8", "replace"),
                where=_text(answer.get("where")) or entry_script(),
                allowed=_text(answer.get("allowed")),
                do=_text(answer.get("do")),
                status=int(str(answer["status"])) if kind == "code-refused" else None,
            )
        return answer, content

    def stop(self) -> None:
        """End the process, also one that is starting; no other is started for this model."""
        self._stopped = True
        self._kill()

    def stop_starting(self) -> None:
        """End the process if it does not answer yet; one that answers is left to finish."""
        if self._starting:
            self.stop()

    def remove(self) -> None:
        """Remove what was unpacked; may take long, and is done outside the event loop."""
        self._unpacked.remove()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, while there is one."""
        return self._worker.pid if self._worker else None

    async def start(self) -> None:
        """Install what the code requires, and load the model: the server can then answer.

        Raises
        ------
        RequestError
            ``code-failed`` with the code's own words, ``code-died``, ``code-too-slow``; ``stopping`` when the model was
            unloaded meanwhile.
        """
        async with self._turn:
            await self._start()

    async def _start(self) -> None:
        self._starting = True
        try:
            await self._start_process()
            self.starts = True
        except RequestError as error:
            self.starts = error.kind == "stopping"
            raise
        finally:
            self._starting = False

    async def _start_process(self) -> None:
        self._check_not_unloaded()
        self._kill()
        self._worker = worker = await Worker.start(self._unpacked.model, self._unpacked.environment)
        self._check_not_unloaded()  # while it was created
        seconds = START_SECONDS + (INSTALL_SECONDS if (self._unpacked.model / REQUIREMENTS).is_file() else 0)
        too_slow = RequestError("code-too-slow", "The model's code did not start in time.", where=entry_script())
        try:
            ended = "The model's code ended at its start ({code})."
            await self._exchange(worker, worker.ready(), seconds, too_slow, ended)
        except BaseException as error:
            self._kill()
            if isinstance(error, RequestError):
                self._check_not_unloaded()
            raise
        self._check_not_unloaded()

    def _check_not_unloaded(self) -> None:
        if self._stopped:
            self._kill()
            raise RequestError("stopping", "The model was unloaded while it was started.", where=entry_script())

    def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.kill()


def _visible_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """What the code may see of a request's headers: all but the keys."""
    return {name: value for name, value in scope["vizsla.headers"].items() if name not in _KEY_HEADERS}


def still_starting(name: str) -> RequestError:
    """What those are told for whom a load takes too long. It goes on."""
    return RequestError(
        "target-starting",
        f"The model {name[:200]!r} is still being loaded.",
        do="try again a little later; what its code requires is installed once, which may take minutes",
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _too_slow() -> RequestError:
    words = f"The model's code gave no answer within {ANSWER_SECONDS:g} s."
    return RequestError("code-too-slow", words, where=entry_script())


def _busy(words: str) -> RequestError:
    return RequestError("overloaded", words, where=entry_script(), do="try again a little later, with less at a time")
