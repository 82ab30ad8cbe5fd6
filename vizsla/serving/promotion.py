"""Goes over to another version when the registry says so: it is loaded first, then asked; nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib

from vizsla.errors import VizslaError
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.registered import RegisteredShelf
from vizsla.serving.telemetry import Telemetry

_LOOK_SECONDS = 1.0


async def follow(shelf: RegisteredShelf, pool: Pool, telemetry: Telemetry) -> None:
    """Look at the registry each second, until cancelled. What cannot be loaded changes nothing; it is told once."""
    unwilling: set[str] = set()
    leaving: set[asyncio.Task[None]] = set()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            packages = await asyncio.to_thread(shelf.changes)
        except VizslaError as error:
            if "registry" not in unwilling:
                unwilling.add("registry")
                telemetry.log("error", "registry", message=str(error))
            continue
        unwilling.discard("registry")
        for package in packages:
            try:
                async with pool.use(package.name):
                    before = shelf.promote(package)
            except (VizslaError, OSError) as error:
                if package.name not in unwilling:
                    unwilling.add(package.name)
                    telemetry.log("error", "promotion", model=package.name, message=str(error))
                continue
            telemetry.log("info", "promoted", model=package.group, version=package.version, before=before.version)
            task = asyncio.create_task(_leave(pool, before.name))
            leaving.add(task)
            task.add_done_callback(leaving.discard)


async def _leave(pool: Pool, name: str) -> None:
    """Unload a version when its last requests are answered."""
    with contextlib.suppress(RequestError):
        await pool.unload(name)
