"""``vizsla aws``: AWS's clients, unmodified, against this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

app = typer.Typer(add_completion=False)
kernel = typer.Typer(no_args_is_help=True, help="A Jupyter kernel whose notebooks talk to this machine.")
image = typer.Typer(no_args_is_help=True, help="What runs where a client names a container image.")
app.add_typer(kernel, name="kernel")
app.add_typer(image, name="image")

_JSON = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout.")
_PORT = typer.Option(None, min=1, max=65535, help="Default: 4566, or one that is free.")


@app.callback(invoke_without_command=True)
def _aws(context: typer.Context) -> None:
    """Boto3, the SageMaker SDK, the AWS command line and smdebug, unmodified, against this machine.

    Alone it says what runs, where, and how to point a client at it.
    """
    from vizsla.serving import check_installed

    check_installed()
    if context.invoked_subcommand is None:
        _show(as_json=False)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    command: list[str] = typer.Argument(None, metavar="[-- COMMAND...]", help="Such as: -- jupyter lab notebook.ipynb"),
    port: int | None = _PORT,
    pass_through: bool = typer.Option(
        False, "--pass-through", help="Fetch what lies in no bucket of this machine from AWS itself."
    ),
) -> None:
    """Run a command whose AWS is this machine; without one serve until Ctrl-C."""
    from vizsla.aws.run import run_command, serve

    if not command:
        serve(port=port, pass_through=pass_through, tell=_told)
        return
    raise typer.Exit(run_command(command, port=port, pass_through=pass_through))


@app.command()
def env() -> None:
    """Print the exports for a shell: eval "$(vizsla aws env)"."""
    import os

    from vizsla.aws.client_environment import exports
    from vizsla.aws.run import context_of_running

    print(exports(context_of_running(), os.environ))


@app.command()
def status(as_json: bool = _JSON) -> None:
    """What runs, where, and how to point a client at it."""
    _show(as_json=as_json)


@kernel.command("install")
def kernel_install(
    python: Path | None = typer.Option(None, help="The interpreter of the kernel. Default: the one of vizsla."),
    prefix: Path | None = typer.Option(None, help="Below this folder instead of the user's own Jupyter folder."),
) -> None:
    """Add the kernel "Python (Vizsla)": chosen in a notebook, its AWS is this machine."""
    from vizsla.aws.kernel import install
    from vizsla.cli.console import errors, results

    results().print(str(install(python, prefix)), soft_wrap=True)
    errors.print("next    vizsla aws run    (the kernel needs the server), and choose Python (Vizsla) in the notebook")


@image.command("add")
def image_add(
    name: str = typer.Argument(..., metavar="IMAGE", help="As clients name it, with or without registry and tag."),
    folder: Path = typer.Argument(..., help="The folder of the code that the image holds."),
    program: str = typer.Argument(..., metavar="SCRIPT", help="Its entry point: a .py or .sh file in the folder."),
) -> None:
    """Let a script run where a client names a custom image."""
    from vizsla.aws import images
    from vizsla.aws.context import STATE
    from vizsla.cli.console import results
    from vizsla.settings import settings

    added = images.add(settings().home_folder("The AWS door") / STATE, name, folder, program)
    results().print(f"{added.name} runs {added.program} of {added.folder}", soft_wrap=True)


def _told(address: str) -> None:
    from vizsla.cli.console import errors

    errors.print(f"AWS at {address} (Ctrl-C ends it; its jobs go on)", soft_wrap=True)
    errors.print('next    vizsla aws run -- jupyter lab    or    eval "$(vizsla aws env)"', soft_wrap=True)


def _show(*, as_json: bool) -> None:
    from vizsla.aws.status import status_of
    from vizsla.cli.console import errors, print_json, results
    from vizsla.settings import settings

    facts: dict[str, Any] = status_of(settings().home_folder("The AWS door"))
    out = results(as_json)
    if facts["address"] is None:
        out.print(f"No server runs on {facts['home']}.", soft_wrap=True)
    else:
        out.print(f"AWS at {facts['address']} (process {facts['pid']}), on {facts['home']}", soft_wrap=True)
    for what in ("jobs", "endpoints", "buckets", "images"):
        out.print(f"  {what:<10} {facts[what]}", soft_wrap=True)
    errors.print("next    vizsla aws run -- COMMAND    runs a command, such as jupyter lab, whose AWS is this machine")
    if as_json:
        print_json(facts)
