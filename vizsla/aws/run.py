"""Commands whose AWS is this machine, and the server without any."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from vizsla.aws.client_environment import environment
from vizsla.aws.context import Context
from vizsla.aws.server import running, serving
from vizsla.errors import UsageError
from vizsla.settings import settings

_DOOR = "The AWS door"


def run_command(command: Sequence[str], *, port: int | None = None, pass_through: bool = False) -> int:
    """Run a command with the server that runs on this home, or with one for as long as the command runs.

    Returns
    -------
    The command's exit code.

    Raises
    ------
    UsageError
        When there is no such command, or the port is taken.
    """
    home = settings().home_folder(_DOOR).absolute()
    inherited = dict(os.environ)
    if (other := running(home)) is not None:
        if port is not None or pass_through:
            raise UsageError(
                f"A server runs on this home already, at {other.address}: its port and what it passes on stay.",
                do="leave the options out, or end that server first",
            )
        return _run(command, environment(Context(home, other.address), inherited))
    with serving(home, port=port, pass_through=pass_through) as ctx:
        return _run(command, environment(ctx, inherited))


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(list(command), env=variables)
    except OSError as error:
        raise UsageError(
            f"The command cannot be run: {error.strerror}.", where=command[0], do="check how it is spelled"
        ) from error

    def hand_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}  # the terminal tells the command itself
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, hand_on)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def serve(*, port: int | None, pass_through: bool, tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises
    ------
    UsageError
        When a server runs on this home already, or the port is taken.
    """
    over = threading.Event()
    with serving(settings().home_folder(_DOOR), port=port, pass_through=pass_through) as ctx:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: over.set())
        tell(ctx.address)
        sys.stderr.flush()
        over.wait()


def context_of_running() -> Context:
    """The server that runs on this home.

    Raises
    ------
    UsageError
        When none does.
    """
    home: Path = settings().home_folder(_DOOR).absolute()
    other = running(home)
    if other is None:
        raise UsageError("No server runs on this home.", where=home, do="`vizsla aws run` starts one")
    return Context(home, other.address)
