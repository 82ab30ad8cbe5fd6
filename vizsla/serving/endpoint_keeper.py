"""``python -m vizsla.serving.endpoint_keeper FOLDER``: keeps the server of an endpoint running.

It starts the server again when it ends by itself, a little later each time. SIGTERM ends both.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from vizsla.serving.endpoint_folder import EndpointFolder
from vizsla.version import python_path

_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
_LIVED_SECONDS = 30.0
_GRACE_SECONDS = 30.0
_PATIENCE_SECONDS = 1.0
SERVER = "vizsla.serving.endpoint_server"


def keep(folder: EndpointFolder) -> int:
    """Keep the server until somebody ends this; the exit code."""
    lock = folder.take_lock(_PATIENCE_SECONDS)
    if lock is None:
        print(f"the endpoint {folder.name} is kept already", file=sys.stderr)
        return 1
    folder.forget()
    over = threading.Event()
    servers: list[subprocess.Popen[bytes]] = []

    def end(number: int, frame: object) -> None:
        over.set()
        for server in servers:
            server.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    starts = failures = 0
    while not over.is_set():
        began = time.monotonic()
        with open(folder.log, "ab") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", SERVER, str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH"))},
            )
        servers[:] = [server]
        starts += 1
        folder.write_keeper(keeper=os.getpid(), server=server.pid, starts=starts, failures=failures)
        code = _wait(server, over)
        failures = 0 if time.monotonic() - began > _LIVED_SECONDS else failures + 1
        if not over.is_set():
            folder.write_keeper(keeper=os.getpid(), server=None, starts=starts, failures=failures, exit_code=code)
            over.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])
    return 0


def _wait(server: subprocess.Popen[bytes], over: threading.Event) -> int:
    deadline: float | None = None
    while True:
        try:
            return server.wait(0.2)
        except subprocess.TimeoutExpired:
            if over.is_set():
                deadline = deadline or time.monotonic() + _GRACE_SECONDS
                if time.monotonic() > deadline:
                    server.kill()


if __name__ == "__main__":
    sys.exit(keep(EndpointFolder(Path(sys.argv[1]))))
