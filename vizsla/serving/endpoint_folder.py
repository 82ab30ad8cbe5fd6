"""An endpoint on disk: ``<home>/endpoints/<name>``.

| file | what | who writes it |
|---|---|---|
| config.json | :class:`EndpointConfig` | who creates and updates; the server, when a change ends |
| state.json | status, address, the change that takes over | the server |
| keeper.json | the keeper, the server, how often it was started | the keeper |
| log.txt | the server's log | the server |
| served.json | of each name that is followed the version that answers | the server |
| attempts.json | loads that were begun and never ended | the server |
| capture/ | what was captured | the server |
| .lock | held by the keeper while it lives | |
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError
from vizsla.files import storage, write_json
from vizsla.jobs.handover import load
from vizsla.serving.attempts import Attempts
from vizsla.serving.endpoint_config import EndpointConfig
from vizsla.settings import settings

IN_SERVICE, CREATING, UPDATING, FAILED, STOPPED = "InService", "Creating", "Updating", "Failed", "OutOfService"
"""SageMaker's EndpointStatus."""


def endpoints_folder() -> Path:
    """Where all endpoints are."""
    return settings().home_folder("An endpoint in the background").absolute() / "endpoints"


class EndpointFolder:
    """One endpoint's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file, self.log = path / "config.json", path / "log.txt"
        self.capture, self._state, self._keeper = path / "capture", path / "state.json", path / "keeper.json"
        self._served = path / "served.json"

    @classmethod
    def named(cls, name: str) -> EndpointFolder:
        """The endpoint of this name.

        Raises
        ------
        UsageError
            When there is none.
        """
        folder = cls(endpoints_folder() / name)
        if "/" in name or not folder.config_file.is_file():
            names = sorted(path.parent.name for path in endpoints_folder().glob("*/config.json"))
            raise UsageError(
                f"There is no endpoint {name!r:.80}.",
                where=endpoints_folder(),
                allowed=", ".join(names) or "none was created yet",
                do="vizsla endpoints create NAME MODEL",
            )
        return folder

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.path.name

    def config(self) -> EndpointConfig:
        """What it is now."""
        return EndpointConfig.read(json.loads(self.config_file.read_bytes()))

    def write_config(self, config: EndpointConfig) -> None:
        """Let it be something else: a running server takes it up within a second."""
        write_json(self.config_file, config.to_dict())

    def replace_config(self, config: EndpointConfig, generation: int) -> None:
        """The same, unless somebody has changed it since ``generation``."""
        with self.changing():
            if self.config().generation == generation:
                self.write_config(config)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Of several who change it one does so at a time."""
        with storage(self.path), open(self.path / ".change", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def state(self) -> dict[str, Any]:
        """What its server told last."""
        return load(self._state) or {}

    def write_state(self, **facts: Any) -> None:
        """Tell how the server is."""
        write_json(self._state, facts)

    def keeper(self) -> dict[str, Any]:
        """What its keeper told last."""
        return load(self._keeper) or {}

    def write_keeper(self, **facts: Any) -> None:
        """Tell which processes there are."""
        write_json(self._keeper, facts)

    def served(self) -> dict[str, str]:
        """Of each name that is followed the version that answered last."""
        return load(self._served) or {}

    def write_served(self, versions: dict[str, str]) -> None:
        """Tell which versions answer."""
        if versions != self.served():
            write_json(self._served, versions)

    def attempts(self) -> Attempts:
        """What servers have begun here and not ended."""
        return Attempts(self.path / "attempts.json")

    def forget(self) -> None:
        """What the last keeper and its server told means nothing any more. The keeper does this that has the lock."""
        for file in (self._state, self._keeper):
            file.unlink(missing_ok=True)

    def take_lock(self, patience: float = 0.0) -> int | None:
        """The lock of the keeper; None where another has it, also after ``patience`` seconds: some just look."""
        file = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        end = time.monotonic() + patience
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            if time.monotonic() >= end:
                os.close(file)
                return None
            time.sleep(0.02)

    @property
    def is_kept(self) -> bool:
        """Whether its keeper lives."""
        lock = self.take_lock()
        if lock is None:
            return True
        os.close(lock)
        return False

    def status(self) -> str:
        """SageMaker's word for how it is."""
        if not self.is_kept:
            return STOPPED
        state, keeper = self.state(), self.keeper()
        if state.get("pid") != keeper.get("server"):  # it is being started (again)
            return FAILED if keeper.get("failures", 0) > 2 else CREATING
        return str(state.get("status", CREATING))
