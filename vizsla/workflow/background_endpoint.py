"""An endpoint in the background, as an object of Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vizsla.serving.endpoint_config import Routing
from vizsla.serving.endpoint_folder import EndpointFolder
from vizsla.workflow import endpoints
from vizsla.workflow.invocation import invoke


class BackgroundEndpoint:
    """An endpoint that goes on without this process; :meth:`open` finds one again by its name."""

    def __init__(self, folder: EndpointFolder) -> None:
        self._folder = folder

    @classmethod
    def open(cls, name: str) -> BackgroundEndpoint:
        """The endpoint of this name.

        Raises
        ------
        UsageError
            When there is none.
        """
        return cls(EndpointFolder.named(name))

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.describe()["url"])

    def describe(self) -> dict[str, Any]:
        """What it is and how it is: what ``vizsla endpoints show --json`` prints."""
        return endpoints.described(self._folder)

    def invoke(
        self, image: str | os.PathLike[str], *, target_model: str | None = None, variant: str | None = None
    ) -> Any:
        """Ask it about a picture.

        Raises
        ------
        VizslaError
            When it does not answer, or refuses.
        """
        return invoke(self._folder, Path(image), target_model=target_model, variant=variant)[0]

    def update(
        self,
        *variants: str | os.PathLike[str],
        weights: dict[str, float] | None = None,
        canary_percent: float | None = None,
        wait_seconds: float = 60,
    ) -> None:
        """Change what it serves without a failed request: at once, or as a canary that goes back by itself.

        Raises
        ------
        UsageError
            When there is nothing to change, or a change is under way.
        """
        routing = None
        if canary_percent is not None:
            routing = Routing(type="CANARY", step_percent=canary_percent, wait_interval_in_seconds=wait_seconds)
        endpoints.update(self._folder, [os.fspath(variant) for variant in variants], weights=weights, routing=routing)

    def stop(self) -> None:
        """End its server; :meth:`start` brings it back."""
        endpoints.stop(self._folder)

    def start(self) -> None:
        """Start its server again, and wait until it is in service."""
        endpoints.start(self._folder)

    def delete(self) -> None:
        """End it and remove its files, what was captured too."""
        endpoints.delete(self._folder)

    def __repr__(self) -> str:
        facts = self.describe()
        return f"BackgroundEndpoint({self._folder.name!r}, {facts['status']}, {facts['url']!r})"
