"""Waiting for what must come, however slow the machine is."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def come(true: Callable[[], object], seconds: float = 60) -> bool:
    """Whether that becomes so; a minute is for a test that fails."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or dead and not yet waited for."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def answer_of(sock: socket.socket) -> tuple[int, Any]:
    """The status and the document of the HTTP answer that comes on a connection, which is then closed."""
    with sock:
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return answer.status, json.loads(answer.read())
