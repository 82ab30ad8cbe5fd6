"""Goes over to another version when the registry says so: it is loaded first, then asked; nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from vizsla.errors import VizslaError
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.registered import RegisteredShelf
from vizsla.serving.telemetry import Telemetry

_LOOK_SECONDS = 1.0
_LONGEST_PAUSE = 300.0


async def follow(shelf: RegisteredShelf, pool: Pool, telemetry: Telemetry) -> None:
    """Look at the registry each second, until cancelled. What cannot be loaded changes nothing; it is told once, and
    tried again after a second, two, four, ..., as what it lacked may have been memory."""
    is_registry_silent = False
    refused: dict[str, tuple[float, float]] = {}
    """Version to when it is tried again, and the pause after that."""
    leaving: set[asyncio.Task[None]] = set()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            changes = await asyncio.to_thread(shelf.changes)
        except VizslaError as error:
            if not is_registry_silent:
                telemetry.log("error", "registry", message=str(error))
            is_registry_silent = True
            continue
        is_registry_silent = False
        for name, package in changes:
            due, pause = refused.get(package.name, (0.0, _LOOK_SECONDS))
            if time.monotonic() < due:
                continue
            if not shelf.attempts.begin(package.name):
                message = "the server has ended each time that it was loaded: it is not tried again"
                telemetry.log("error", "promotion", model=package.name, message=message)
                refused[package.name] = float("inf"), pause
                continue
            try:
                async with pool.use(package.name):
                    before = shelf.promote(name, package)
            except (VizslaError, OSError, KeyError) as error:  # KeyError: the name is gone meanwhile
                if package.name not in refused:
                    telemetry.log("error", "promotion", model=package.name, message=str(error))
                refused[package.name] = time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE)
                continue
            finally:
                shelf.attempts.end(package.name)
            refused.pop(package.name, None)
            telemetry.log("info", "promoted", model=name, version=package.version, before=before.version)
            if not shelf.is_meant(before.name):
                task = asyncio.create_task(_leave(pool, before.name))
                leaving.add(task)
                task.add_done_callback(leaving.discard)


async def _leave(pool: Pool, name: str) -> None:
    """Unload a version when its last requests are answered."""
    with contextlib.suppress(RequestError):
        await pool.unload(name)
