"""The command as a process forked from one that has imported the server already: a start costs no imports."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["vizsla.cli.serve", "vizsla.serving.server", "forked"])


class Forked:
    """One such process, with the verbs of :class:`subprocess.Popen`; it leads a session of its own."""

    def __init__(self, arguments: Sequence[str], stderr: Path, environment: Mapping[str, str]) -> None:
        self._process = _CONTEXT.Process(target=_run, args=(list(arguments), str(stderr), dict(environment)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code."""
        self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("vizsla", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()


def _run(arguments: list[str], stderr: str, environment: dict[str, str]) -> None:
    from vizsla.cli.main import main

    os.setsid()
    log = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["vizsla", *arguments]
    main()
