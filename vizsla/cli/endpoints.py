"""``vizsla endpoints``: servers in the background, with variants, canaries and data capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout.")
_NAME = typer.Argument(..., metavar="NAME", help="The endpoint's name.")
_VARIANTS = typer.Argument(
    None, metavar="[MODEL]...", help="MODEL, NAME=MODEL or NAME=MODEL:WEIGHT; models:/GROUP@ALIAS, too."
)


@app.command()
def create(
    name: str = _NAME,
    models: list[str] = _VARIANTS,
    models_dir: str | None = typer.Option(None, help="Many models: a folder or s3://bucket/prefix; requests name one."),
    port: int | None = typer.Option(None, min=1, max=65535, help="Default: one that is free."),
    capture_percent: float | None = typer.Option(None, min=0, max=100, help="Keep this share of what is asked."),
    capture_mb: float = typer.Option(1000, min=1, help="Most that all of it takes on the disk."),
    memory_mb: int = typer.Option(4000, min=1, help="Most memory for loaded models."),
    allow_code: bool = typer.Option(False, "--allow-code", help="Run the own code of models that bring some."),
    systemd: bool = typer.Option(False, "--systemd", help="Write a unit that brings it back when the machine starts."),
    as_json: bool = _JSON,
) -> None:
    """Create an endpoint: its server runs in the background, and is started again when it ends."""
    from vizsla.cli.console import errors, print_json, results
    from vizsla.serving.endpoint_config import DataCapture
    from vizsla.workflow import endpoints
    from vizsla.workflow.systemd import check_no_keys, write_unit

    if systemd:
        check_no_keys()
    folder = endpoints.create(
        name,
        models or [],
        models_dir=models_dir,
        port=port,
        capture=DataCapture.of(capture_percent, capture_mb),
        allow_code=allow_code,
        memory_mb=memory_mb,
    )
    if systemd:
        unit = write_unit(folder)
        errors.print(f"unit  {unit} (systemctl --user enable {unit.name}; loginctl enable-linger)", soft_wrap=True)
    facts = endpoints.described(folder)
    if as_json:
        print_json(facts)
    results(as_json).print(f"{name} is {facts['status']} at {facts['url']}", soft_wrap=True)
    results(as_json).print(f"next  vizsla endpoints invoke {name} PICTURE", soft_wrap=True)


@app.command()
def update(
    name: str = _NAME,
    models: list[str] = _VARIANTS,
    weight: list[str] = typer.Option([], "--weight", metavar="VARIANT=WEIGHT", help="Repeat for each variant."),
    canary: float | None = typer.Option(None, min=0.1, max=99, help="Percent of the requests that get it first."),
    linear: float | None = typer.Option(None, min=0.1, max=99, help="Percent more of the requests at each step."),
    wait_seconds: float = typer.Option(60, min=0, help="Between the steps."),
    max_error_rate: float = typer.Option(0.05, min=0, max=1, help="Where more fail it is taken back."),
    max_latency_ms: float | None = typer.Option(None, min=0.1, help="Where the 95th percentile is longer, too."),
    as_json: bool = _JSON,
) -> None:
    """Change what an endpoint serves, without a failed request; a canary moves, and is taken back, by itself."""
    from vizsla.cli.console import print_json, results
    from vizsla.errors import UsageError
    from vizsla.serving.endpoint_config import Routing
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow import endpoints

    if canary is not None and linear is not None:
        raise UsageError("A change is a canary or linear.", parameter="linear", do="leave one of both out")
    routing = Routing(
        type="CANARY" if canary is not None else "LINEAR" if linear is not None else "ALL_AT_ONCE",
        step_percent=canary or linear or 10,
        wait_interval_in_seconds=wait_seconds,
        max_error_rate=max_error_rate,
        max_latency_milliseconds=max_latency_ms,
    )
    folder = EndpointFolder.named(name)
    endpoints.update(folder, models or [], weights=_weights(weight), routing=routing)
    facts = endpoints.described(folder)
    if as_json:
        print_json(facts)
    results(as_json).print(f"{name} is being updated")
    results(as_json).print(f"next  vizsla endpoints show {name}")


def _weights(texts: list[str]) -> dict[str, float]:
    from vizsla.errors import UsageError

    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError as error:
            raise UsageError(f"{text!r} is no weight.", parameter="weight", allowed="VARIANT=WEIGHT") from error
    return found


@app.command("list")
def list_endpoints(as_json: bool = _JSON) -> None:
    """List endpoints, and how they are."""
    from vizsla.cli.console import print_json, results, titled_table
    from vizsla.serving.endpoint_folder import endpoints_folder
    from vizsla.workflow.endpoints import described, every

    found = [described(folder) for folder in every()]
    if as_json:
        print_json({"folder": str(endpoints_folder()), "endpoints": found})
        return
    table = titled_table("Endpoints", "name", "status", "url", "variants", ">starts")
    for facts in found:
        variants = ", ".join(
            f"{v['VariantName']} {v.get('CurrentWeight', v.get('InitialVariantWeight', 1)):g}"
            for v in facts["variants"]
        )
        table.add_row(facts["name"], facts["status"], facts["url"], variants, str(facts["starts"]))
    results().print(table)


@app.command()
def show(name: str = _NAME, as_json: bool = _JSON) -> None:
    """Show an endpoint: its variants, the change that takes over, its processes."""
    from vizsla.cli.console import print_json, results
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow.endpoints import described

    facts = described(EndpointFolder.named(name))
    if as_json:
        print_json(facts)
        return
    for label, value in facts.items():
        if value is not None and label != "config":
            results().print(f"{label:<12} {value}", soft_wrap=True)


@app.command()
def logs(name: str = _NAME, last: int = typer.Option(100, min=1, help="This many lines of its end.")) -> None:
    """Print the end of an endpoint's log."""
    import sys
    from collections import deque

    from vizsla.serving.endpoint_folder import EndpointFolder

    with open(EndpointFolder.named(name).log, errors="replace") as file:
        sys.stdout.writelines(deque(file, last))


@app.command()
def start(name: str = _NAME, as_json: bool = _JSON) -> None:
    """Start an endpoint again, such as after the machine's restart."""
    from vizsla.cli.console import print_json, results
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow import endpoints

    folder = EndpointFolder.named(name)
    endpoints.start(folder)
    if as_json:
        print_json(endpoints.described(folder))
    results(as_json).print(f"{name} is {folder.status()}")


@app.command()
def stop(name: str = _NAME, as_json: bool = _JSON) -> None:
    """End an endpoint's server; its configuration stays."""
    from vizsla.cli.console import print_json, results
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow import endpoints

    folder = EndpointFolder.named(name)
    endpoints.stop(folder)
    if as_json:
        print_json(endpoints.described(folder))
    results(as_json).print(f"{name} is {folder.status()}")


@app.command()
def delete(names: list[str] = typer.Argument(..., help="Names of endpoints."), as_json: bool = _JSON) -> None:
    """End endpoints and remove them, with what was captured; none where one of the names is wrong."""
    from vizsla.cli.console import errors, print_json
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow import endpoints

    folders = [EndpointFolder.named(name) for name in names]
    for folder in folders:
        endpoints.delete(folder)
        errors.print(f"deleted {folder.name}")
    if as_json:
        print_json({"deleted": names})


@app.command()
def invoke(
    name: str = _NAME,
    images: list[Path] = typer.Argument(..., help="Pictures, or other bodies that the model reads."),
    target_model: str | None = typer.Option(None, help="Of an endpoint of many models: which."),
    variant: str | None = typer.Option(None, help="Ask this variant."),
    content_type: str | None = typer.Option(None, help="What the files are. Default: by their names."),
    accept: str | None = typer.Option(None, help="The form of the answer. Default: JSON that names the classes."),
    as_json: bool = _JSON,
) -> None:
    """Ask an endpoint about pictures."""
    from vizsla.cli.console import print_json, results
    from vizsla.serving.endpoint_folder import EndpointFolder
    from vizsla.workflow.invocation import invoke as ask

    folder = EndpointFolder.named(name)
    for image in images:
        answer, served_by = ask(
            folder, image, content_type=content_type, accept=accept, target_model=target_model, variant=variant
        )
        if as_json:
            print_json({"image": str(image), "variant": served_by, "answer": answer})
        else:
            results().print(f"{image}   {_in_words(answer)}", soft_wrap=True, markup=False, highlight=False)


def _in_words(answer: Any) -> str:
    """As ``vizsla predict`` says it; what a model's own code answers as it is."""
    import json

    if isinstance(answer, str):
        return answer.rstrip()
    try:
        return "   ".join(f"{one['class_name']} {100 * one['probability']:.1f} %" for one in answer["predictions"][:3])
    except (TypeError, KeyError):
        return json.dumps(answer, ensure_ascii=False)
