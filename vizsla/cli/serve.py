"""``vizsla serve``: saved models behind an HTTP endpoint."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)

_MOST_PAYLOAD_MB = 100
"""The platform says 0 for bodies of any length; its batch transform allows no more than this (CreateTransformJob)."""


@app.command()
def serve(
    models: list[str] = typer.Argument(
        None, help="Model folders, job folders, model.tar.gz files or s3:// addresses; the first is the default."
    ),
    models_dir: str = typer.Option(None, "--models-dir", help="Many models: a folder or s3://bucket/prefix of them."),
    host: str = typer.Option("127.0.0.1", "--host", envvar="VIZSLA_HOST", help="Address to listen on."),
    port: int = typer.Option(8080, "--port", min=1, max=65535, envvar="SAGEMAKER_BIND_TO_PORT", help="Port."),
    endpoint_name: str = typer.Option(None, "--endpoint-name", help="Answer to this endpoint name only."),
    memory_mb: int = typer.Option(4000, "--memory-mb", min=1, help="Most memory for loaded models."),
    max_payload_mb: float = typer.Option(
        25,
        "--max-payload-mb",
        min=0,
        envvar="SAGEMAKER_MAX_PAYLOAD_IN_MB",
        help="Largest request body in MiB; 0 for SageMaker's own maximum of 100.",
    ),
    allow_code: bool = typer.Option(
        False, "--allow-code", envvar="VIZSLA_ALLOW_CODE", help="Run the own code of models that bring some."
    ),
    allow_urls: bool = typer.Option(
        False, "--allow-urls", help='Fetch pictures for {"url": ...}, public addresses only.'
    ),
    allow_anonymous: bool = typer.Option(
        False,
        "--allow-anonymous",
        envvar="VIZSLA_ALLOW_ANONYMOUS",
        help="Let others than this machine in without a key.",
    ),
    public_origin: list[str] = typer.Option(
        None, "--public-origin", help="What a proxy before the server is called, such as https://models.example.com."
    ),
    strict_images: bool = typer.Option(
        False,
        "--strict-images",
        envvar="VIZSLA_STRICT_IMAGES",
        help="Refuse pictures that can be decoded although part of their data is broken.",
    ),
    executor: str = typer.Option(
        "local", help="ray, or ray://HOST:PORT: replicas on the nodes of that cluster, behind Ray Serve's proxy."
    ),
    replicas: str = typer.Option("1", help="With --executor ray: how many, such as 2, or 2..8 as the requests ask."),
    log_requests: bool = typer.Option(True, help="Write a line of JSON to stderr for every request."),
) -> None:
    """Serve saved models over HTTP, with SageMaker's contracts. Needs no torch.

    Without models it serves what lies in /opt/ml/model, as SageMaker's hosting starts a container.
    VIZSLA_API_KEYS and VIZSLA_SIGV4_KEYS (ACCESS_KEY_ID:SECRET) name the keys that are let in.
    """
    from vizsla.serving import check_installed

    check_installed()
    from vizsla.serving.access import Access
    from vizsla.serving.offer import Offer
    from vizsla.serving.server import ServeOptions, Server
    from vizsla.settings import settings

    now = settings()
    offer = Offer.of(models or [], models_dir, now.cache)
    options = ServeOptions(
        shelf=offer.shelf,
        pinned=offer.pinned,
        host=host,
        port=port,
        endpoint_name=endpoint_name,
        memory=memory_mb * 1_000_000,
        max_payload=int((max_payload_mb or _MOST_PAYLOAD_MB) * 2**20),
        allow_code=allow_code,
        allow_urls=allow_urls,
        log_requests=log_requests,
        strict_images=strict_images,
        access=Access.from_environment(host, anonymous=allow_anonymous, public_origins=public_origin or ()),
    )
    if executor == "local":
        Server(options, now).run()
        return
    from vizsla.cli.console import errors
    from vizsla.serving.ray_serve import Replicas, serve_on_ray

    def tell(address: str) -> None:
        errors.print(f"serving at {address}, with {replicas} replicas; Ctrl-C ends them", soft_wrap=True)

    serve_on_ray(executor, (models or [], models_dir), options, Replicas.parse(replicas), tell)
