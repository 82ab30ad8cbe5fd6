"""``vizsla ui``: MLflow's pages over the recorded jobs."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command()
def ui(
    port: int = typer.Option(5000, min=1, max=65535, help="Port on this machine."),
    tracking_uri: str | None = typer.Option(None, help="An MLflow server or database. Default: VIZSLA_TRACKING."),
) -> None:
    """Open MLflow's pages on 127.0.0.1; Ctrl-C ends them."""
    import os
    import sys

    from vizsla.cli.console import errors
    from vizsla.jobs.tracking import masked, prepare_ui
    from vizsla.settings import settings

    command = prepare_ui(settings().home, tracking_uri, port)
    if command is None:
        errors.print(f"the jobs are recorded on a server: open {masked(tracking_uri or settings().tracking)}")
        return
    errors.print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)")
    sys.stderr.flush()
    os.execve(sys.executable, command, os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
