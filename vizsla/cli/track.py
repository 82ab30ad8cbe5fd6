"""The option that says where runs are recorded; the same for every verb that trains."""

from __future__ import annotations

from typing import Annotated

import typer

TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="An MLflow server to record the job on, or off. Default: a file in the folder of the jobs.",
    ),
]


def record_on(uri: str | None) -> None:
    """Record this process's jobs there; None leaves it to the settings.

    Raises
    ------
    UsageError
        When it, or what the settings say, is no address.
    """
    from vizsla.jobs.tracking import check_setting, check_tracking_uri

    if uri is None:
        check_setting()
    else:
        import os

        os.environ["VIZSLA_TRACKING"] = check_tracking_uri(uri, "--tracking-uri")
