"""``python -m vizsla.serving.endpoint_server FOLDER``: the server of an endpoint.

It follows the endpoint's configuration: what it says is loaded first and asked then, so that no request waits for a
change. A change takes over as its routing says, and is taken back when its variants fail. What the registry says is
followed as any server does (:mod:`vizsla.serving.promotion`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vizsla.errors import UsageError, VizslaError
from vizsla.files import sha256_json
from vizsla.jobs.spec import local_path
from vizsla.parameters import COMMAND, speak
from vizsla.registry.package import SCHEME, ModelPackage, Reference
from vizsla.serving.access import Access
from vizsla.serving.attempts import MOST
from vizsla.serving.capture import Capture, CaptureOptions
from vizsla.serving.endpoint_config import DataCapture, EndpointConfig, Routing, Variant
from vizsla.serving.endpoint_folder import FAILED, IN_SERVICE, UPDATING, EndpointFolder
from vizsla.serving.faults import RequestError
from vizsla.serving.pool import Pool
from vizsla.serving.registered import RegisteredShelf, approved
from vizsla.serving.server import ServeOptions, Server
from vizsla.serving.shelves import FolderShelf, S3Shelf, Shelf, fetch_archive
from vizsla.serving.telemetry import Telemetry
from vizsla.serving.traffic import Deployment, Traffic
from vizsla.settings import settings

_LOOK_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Variants = Sequence[tuple[str, float, str | None]]
"""Of each its name, its weight and what its model is called on the shelf; None for one that requests name."""


class EndpointDirector:
    """Brings what the configuration says into the traffic of a server: its :class:`vizsla.serving.server.Director`."""

    def __init__(self, folder: EndpointFolder) -> None:
        self.folder = folder
        self.config = folder.config()
        self.traffic = Traffic()
        self.shelf: Shelf = _shelf(self.config)
        if isinstance(self.shelf, RegisteredShelf):
            self.shelf.on_promote, self.shelf.attempts = self._ask, folder.attempts()
        self._attempts = folder.attempts()
        self._generation = 0
        self._present: Variants = ()
        self._coming: Variants = ()
        self._told: dict[str, object] = {}
        self._refused: str | None = None

    async def begin(self, pool: Pool, telemetry: Telemetry) -> None:
        """Load what there is at the start.

        Raises
        ------
        VizslaError
            When a model cannot be loaded.
        """
        config = self.config
        self._generation = config.generation
        if config.previous is not None:
            try:
                self._present = await self._load(config.previous, pool)
            except (VizslaError, OSError) as error:  # gone: there is nothing to go back to
                telemetry.log("error", "endpoint", message=f"what was served before cannot be loaded: {error}")
            else:
                self._ask()
                await self._deploy(config, pool, telemetry)
                return
        self._present = await self._load(config.production_variants, pool)
        self._ask()
        if config.previous is not None:
            self.config = config.model_copy(update={"previous": None, "routing": None})
            self.folder.replace_config(self.config, self._generation)

    async def follow(self, pool: Pool, telemetry: Telemetry) -> None:
        """Look at the configuration and the new variants' health, until cancelled."""
        while True:
            self._tell()
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look(pool, telemetry)
                self._refused = None
            except (VizslaError, OSError, ValueError) as error:
                if str(error) != self._refused:
                    self._refused = str(error)
                    telemetry.log("error", "endpoint", message=str(error))

    async def _look(self, pool: Pool, telemetry: Telemetry) -> None:
        if self.traffic.deployment is not None:
            await self._watch(self.traffic.deployment, pool, telemetry)
        config = self.folder.config()
        if config.generation != self._generation:
            self._generation, self.config = config.generation, config
            await self._deploy(config, pool, telemetry)

    async def _deploy(self, config: EndpointConfig, pool: Pool, telemetry: Telemetry) -> None:
        routing = config.routing or Routing()
        if not self._attempts.begin(self._change):
            await self._take_back(f"the server has ended {MOST} times since the change", pool, telemetry)
            return
        try:
            self._coming = await self._load(config.production_variants, pool)
        except (VizslaError, OSError) as error:
            await self._take_back(f"a model cannot be loaded: {getattr(error, 'what', error)}", pool, telemetry)
            return
        self.traffic.deployment = Deployment(routing.policy())
        self._ask()
        telemetry.log("info", "deploying", generation=config.generation, share=self.traffic.deployment.share)
        if self.traffic.deployment.share >= 1.0:
            await self._finish(pool, telemetry)

    @property
    def _change(self) -> str:
        return f"generation {self._generation}"

    def _ask(self) -> None:
        """Let requests ask what the variants' models mean now."""
        self.traffic.variants, self.traffic.new = self._meant(self._present), self._meant(self._coming)
        self.folder.write_served(
            {n: self.shelf.artifact(n) for _, _, n in (*self._present, *self._coming) if n and self.shelf.moves(n)}
        )

    def _meant(self, variants: Variants) -> Variants:
        return [(name, weight, called and self.shelf.artifact(called)) for name, weight, called in variants]

    async def _watch(self, deployment: Deployment, pool: Pool, telemetry: Telemetry) -> None:
        if (trouble := deployment.trouble()) is not None:
            await self._take_back(trouble, pool, telemetry)
            return
        before = deployment.share
        if deployment.look(time.monotonic()):
            await self._finish(pool, telemetry)
        elif deployment.share != before:
            telemetry.log("info", "deploying", generation=self._generation, share=deployment.share)

    async def _finish(self, pool: Pool, telemetry: Telemetry) -> None:
        self._present, self._coming, self.traffic.deployment = self._coming, (), None
        self._ask()
        self._told["deployment"] = {"status": "Completed", "generation": self._generation}
        telemetry.log("info", "deployed", generation=self._generation)
        done = self.config.model_copy(update={"previous": None, "routing": None})
        self.folder.replace_config(done, self._generation)
        self._attempts.end(self._change)
        await self._leave(pool)

    async def _take_back(self, reason: str, pool: Pool, telemetry: Telemetry) -> None:
        self._coming, self.traffic.deployment = (), None
        self._ask()
        self._told["deployment"] = {"status": "RolledBack", "generation": self._generation, "reason": reason}
        telemetry.log("error", "rolled back", generation=self._generation, reason=reason)
        variants = self.config.previous or self.config.production_variants
        back = self.config.model_copy(update={"production_variants": variants, "previous": None, "routing": None})
        self.folder.replace_config(back, self._generation)
        self.config = back
        self._attempts.end(self._change)
        await self._leave(pool)

    async def _load(self, variants: list[Variant], pool: Pool) -> Variants:
        """The variants, their models loaded and on the shelf."""
        if variants[0].mode == "MultiModel":
            return [(variants[0].variant_name, 1.0, None)]
        loaded = []
        for variant in variants:
            called = await asyncio.to_thread(self._place, variant.model_name)
            artifact = self.shelf.artifact(called)
            self._attempts.begin(artifact)
            try:
                async with pool.use(called):
                    loaded.append((variant.variant_name, variant.initial_variant_weight, called))
            finally:
                self._attempts.end(artifact)
        return loaded

    def _place(self, model: str) -> str:
        """Put a model on the shelf; what it is called there."""
        assert isinstance(self.shelf, RegisteredShelf)
        if model.startswith(SCHEME):
            reference = Reference.parse(model)
            called = str(reference)
            if called not in self.shelf.references:
                self.shelf.add(called, reference, self._package(reference, called))
            return called
        path = fetch_archive(model, settings().cache) if model.startswith("s3://") else local_path(model)
        if path is None or not path.exists():
            raise UsageError("There is no such model.", where=model)
        stamp = max(p.stat().st_mtime_ns for p in (path, *path.glob("model.json"), *path.glob("model/model.json")))
        called = f"{path.name.removesuffix('.tar.gz')}-{sha256_json([str(path), stamp])[:8]}"
        self.shelf.paths[called] = path
        return called

    def _package(self, reference: Reference, called: str) -> ModelPackage:
        """What a reference means; where a server has ended while it loaded that, what was served before."""
        package = approved(reference)
        served = self.folder.served().get(called)
        if served is None or not self._attempts.unfinished(package.name):
            return package
        return approved(Reference.parse(served))

    async def _leave(self, pool: Pool) -> None:
        """Unload what no variant means any more."""
        if not isinstance(self.shelf, RegisteredShelf):
            return
        names = {called for _, _, called in (*self._present, *self._coming)}
        for called in {*self.shelf.paths, *self.shelf.references} - names:
            artifact = self.shelf.artifact(called)
            self.shelf.remove(called)
            if not self.shelf.is_meant(artifact):
                with contextlib.suppress(RequestError):
                    await pool.unload(artifact)

    def _tell(self) -> None:
        deployment = self.traffic.deployment
        facts: dict[str, object] = {
            "pid": os.getpid(),
            "status": UPDATING if deployment is not None else IN_SERVICE,
            "generation": self._generation,
            "variants": [
                {"VariantName": name, "CurrentWeight": weight, "Model": target}
                for name, weight, target in self.traffic.variants
            ],
            "deployment": self._told.get("deployment"),
        }
        if deployment is not None:
            health = deployment.health
            facts["deployment"] = {
                "status": "InProgress",
                "generation": self._generation,
                "share": deployment.share,
                "requests": health.requests,
                "errors": health.errors,
                "p95_ms": round(1000 * health.p95(), 1),
                "models": [target for _, _, target in self.traffic.new],
            }
        if facts != self._told.get("facts"):
            self._told["facts"] = facts
            self.folder.write_state(**facts)


def _shelf(config: EndpointConfig) -> Shelf:
    if not config.is_multi_model:
        return RegisteredShelf({})
    place = config.production_variants[0].model_name
    return S3Shelf(place, settings().cache) if place.startswith("s3://") else FolderShelf(Path(place))


def _capture(folder: EndpointFolder, asked: DataCapture | None) -> Capture | None:
    if asked is None or not asked.enable_capture:
        return None
    place = local_path(asked.destination_s3_uri or "") or folder.capture
    modes = [str(option.get("CaptureMode")) for option in asked.capture_options]
    options = CaptureOptions(
        place, asked.initial_sampling_percentage / 100, modes, int(asked.max_megabytes * 1_000_000)
    )
    return Capture(options, folder.name)


def serve(folder: EndpointFolder) -> None:
    """Serve until SIGTERM, or until the keeper is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        return
    director = EndpointDirector(folder)
    config = director.config
    capture = _capture(folder, config.data_capture_config)
    options = ServeOptions(
        shelf=director.shelf,
        host=config.host,
        port=config.port,
        endpoint_name=config.endpoint_name,
        memory=config.memory_mb * 1_000_000,
        allow_code=config.allow_code,
        access=Access.from_environment(config.host, anonymous=False),
        director=director,
        capture=capture,
    )
    Server(options, settings()).run()
    if capture is not None:
        capture.close()


def main() -> int:
    """Run the server of the folder that is named; the exit code."""
    speak(COMMAND)
    folder = EndpointFolder(Path(sys.argv[1]))
    try:
        serve(folder)
    except VizslaError as error:
        folder.write_state(pid=os.getpid(), status=FAILED, reason=str(error))
        print(f"vizsla: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
