"""``vizsla profile``: where the time and the machine went in a job, and what to change."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command()
def profile(
    job: str = typer.Argument(..., help="The job's name, or its folder."),
    advise: bool = typer.Option(
        False, "--advise", help="Try the advised changes in a short run beside, and say what each gains."
    ),
    change: list[str] = typer.Option(
        [], "--change", metavar="NAME[=VALUE]", help="Try this change, such as num_workers=2. Repeat."
    ),
    apply: bool = typer.Option(
        False, "--apply", help="Of a job that runs: go on with the changes that gain and leave the results alone."
    ),
    set_: list[str] = typer.Option(
        [], "--set", metavar="RULE.PARAMETER=VALUE", help="A parameter of a rule, by AWS's names. Repeat."
    ),
    fail_on: str = typer.Option("never", "--fail-on", help="error or warning: exit code 1 when one was found."),
    show: bool = typer.Option(False, "--open", help="Open the page in a browser."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Print the profile of a job that has ended or runs, and write its page."""
    from pathlib import Path

    from vizsla.cli.console import errors, print_json, print_note, results
    from vizsla.errors import UsageError
    from vizsla.jobs.controller import find
    from vizsla.settings import settings
    from vizsla.workflow.debug import split_parameters
    from vizsla.workflow.profile import profile_job
    from vizsla.workflow.profile_advice import advise_job

    if fail_on not in ("never", "error", "warning"):
        raise UsageError(f"There is no {fail_on!r}.", where="--fail-on", allowed="never, error, warning")
    found = find(job, Path(settings().home))
    if advise or change or apply:
        advise_job(found, change, apply=apply, note=print_note)
    result = profile_job(found, split_parameters(set_))
    if as_json:
        print_json(result.to_dict())
    out = results(as_json)
    for line in result.lines():
        out.print(line, soft_wrap=True, markup=False, highlight=False)
    for name, why in result.broken.items():
        errors.print(f"the rule {name} failed itself: {why}", soft_wrap=True, markup=False)
    if result.findings and result.profile.train_steps and not (advise or change):
        errors.print(f"next    vizsla profile {found.name} --advise measures what changes gain", soft_wrap=True)
    if show:
        typer.launch(str(result.report))
    if fail_on != "never" and result.has(fail_on):
        raise typer.Exit(1)
