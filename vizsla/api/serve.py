"""``vizsla.serve``: saved models behind an HTTP endpoint in the background."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vizsla.api.inputs import PathLike
from vizsla.settings import settings

if TYPE_CHECKING:
    from vizsla.serving.endpoint import Endpoint


def serve(
    *models: PathLike,
    models_dir: PathLike | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    memory_mb: int = 4000,
    max_payload_mb: float = 25,
    allow_code: bool = False,
    allow_urls: bool = False,
    allow_anonymous: bool = False,
    strict_images: bool = False,
    log: bool = False,
) -> Endpoint:
    """Serve saved models over HTTP in the background of this process, as ``vizsla serve`` does.

    Parameters
    ----------
    models, models_dir:
        What :func:`fit` returned, model folders, job folders or archives, the first being the default; or a folder of
        many.
    port:
        By default one that is free: ``endpoint.url`` tells it.
    memory_mb, max_payload_mb, allow_code, allow_urls, allow_anonymous, strict_images:
        As for the command (docs/serving.md); the keys that are let in are in ``VIZSLA_API_KEYS`` and
        ``VIZSLA_SIGV4_KEYS``.
    log:
        Whether a line of JSON is written to stderr for every request; errors are told in any case.

    Raises
    ------
    VizslaError
        When a model cannot be loaded, the address cannot be listened on, or the extra ``serve`` is not installed.

    Examples
    --------
    >>> endpoint = vizsla.serve(result)  # doctest: +SKIP
    >>> endpoint.url  # doctest: +SKIP
    'http://127.0.0.1:41873'
    >>> endpoint.close()  # doctest: +SKIP
    """
    from vizsla.serving import check_installed

    check_installed()
    from vizsla.serving.access import Access
    from vizsla.serving.endpoint import Endpoint
    from vizsla.serving.offer import Offer
    from vizsla.serving.server import ServeOptions

    many = None if models_dir is None else os.fspath(models_dir)
    offer = Offer.of([os.fspath(model) for model in models], many, settings().cache)
    return Endpoint(
        ServeOptions(
            shelf=offer.shelf,
            pinned=offer.pinned,
            host=host,
            port=port,
            memory=memory_mb * 1_000_000,
            max_payload=int(max_payload_mb * 2**20),
            allow_code=allow_code,
            allow_urls=allow_urls,
            log=log,
            strict_images=strict_images,
            access=Access.from_environment(host, anonymous=allow_anonymous),
        )
    )
