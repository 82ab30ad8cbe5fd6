"""What ``--dry-run`` prints."""

from __future__ import annotations

import json

from vizsla.cli.console import errors, print_json
from vizsla.workflow.dry_run import DryRun


def print_dry_run(run: DryRun, *, as_json: bool) -> None:
    """The request on stdout, what it may cost and what was measured here on stderr; all of it in one object with
    ``as_json``."""
    if as_json:
        print_json(run.to_dict())
        return
    print(json.dumps(run.request.parameters, indent=2))
    for line in run.lines():
        errors.print(line, soft_wrap=True, markup=False)
