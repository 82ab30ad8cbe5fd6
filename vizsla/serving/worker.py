"""The server's end of a process that runs a model's own code: the pipe, and the end of it with all that it started."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from vizsla.jobs import overlay
from vizsla.jobs.processes import signal_group
from vizsla.serving.entry import MAX_ANSWER_BYTES, REQUIREMENTS
from vizsla.version import python_path

_MAX_HEADER_BYTES = 65_536
_LAST_WORDS_SECONDS = 1.0
"""For what a process has written before its end; what it has started may keep the pipe open for ever."""
_PRIVATE = ("VIZSLA_API_KEYS", "VIZSLA_SIGV4_KEYS")
"""Variables that a model's code has no business to read."""

Said = tuple[dict[str, object], bytes]
"""A header, and what follows it."""


class Worker:
    """A process in a session of its own. However it ends, the processes that it has started end with it, unless they
    have left its process group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._end = asyncio.get_running_loop().create_task(self._watch())

    @classmethod
    async def start(cls, model: Path, environment: Path) -> Worker:
        """Start ``inference_worker.py`` for the model in this folder, in the environment that its code may change."""
        installs = (model / REQUIREMENTS).is_file()  # which is done from outside
        process = await asyncio.create_subprocess_exec(
            sys.executable if installs else str(overlay.program(environment)),
            "-P",  # the working directory is nobody's place for modules
            "-m",
            "vizsla.serving.inference_worker",
            str(model),
            str(environment),
            *(["install"] if installs else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(environment),
            start_new_session=True,
            limit=_MAX_HEADER_BYTES,
        )
        return cls(process)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process.returncode is None else None

    async def ready(self) -> Said:
        """What it says when it has loaded the model, or cannot.

        Raises
        ------
        EOFError, OSError, ValueError
            When it has ended, or says what cannot be meant.
        """
        return await self._unless_ended(self._read())

    async def ask(self, header: Mapping[str, object], body: bytes) -> Said:
        """Its answer to a request; raises as :meth:`ready`."""
        return await self._unless_ended(self._exchange(header, body))

    async def exit_code(self) -> int:
        """How it ended, when it has."""
        return await self._process.wait()

    def kill(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            signal_group(self._process.pid, signal.SIGKILL)

    async def _watch(self) -> None:
        try:
            await self._process.wait()
        finally:
            signal_group(self._process.pid, signal.SIGKILL)  # its number is given to nobody while it has members

    async def _unless_ended(self, talk: Coroutine[Any, Any, Said]) -> Said:
        talking = asyncio.get_running_loop().create_task(talk)
        try:
            await asyncio.wait({talking, self._end}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                await asyncio.wait({talking}, timeout=_LAST_WORDS_SECONDS)
            if not talking.done():
                raise EOFError
            return talking.result()
        finally:
            talking.cancel()

    async def _exchange(self, header: Mapping[str, object], body: bytes) -> Said:
        if self._process.stdin is None:
            raise EOFError
        self._process.stdin.write(json.dumps(header).encode() + b"\n")
        self._process.stdin.write(body)
        await self._process.stdin.drain()
        return await self._read()

    async def _read(self) -> Said:
        if self._process.stdout is None:
            raise EOFError
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError
        header = json.loads(line)
        size = int(header["size"])
        if size > MAX_ANSWER_BYTES:  # the worker itself refuses such an answer
            raise ValueError(size)
        return header, await self._process.stdout.readexactly(size)


def _environment(environment: Path) -> dict[str, str]:
    """The server's variables without its keys; a checkout that is not installed is found by PYTHONPATH."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    inherited = {name: value for name, value in os.environ.items() if name not in _PRIVATE}
    if path := python_path(inherited.get("PYTHONPATH")):
        inherited["PYTHONPATH"] = path
    return inherited | overlay.variables(environment, programs)
