"""``vizsla debug``: what is wrong with a training, by what its job recorded."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command()
def debug(
    job: str = typer.Argument(..., help="The job's name, or its folder."),
    rule: list[str] = typer.Option(
        [], "--rule", metavar="NAME", help="Only this rule, or one of your own: FILE.py:CLASS. Repeat."
    ),
    set_: list[str] = typer.Option(
        [], "--set", metavar="RULE.PARAMETER=VALUE", help="A parameter of a rule, by AWS's names. Repeat."
    ),
    compat: str = typer.Option("vizsla", help="aws: AWS's documented conditions to the letter."),
    fail_on: str = typer.Option("never", "--fail-on", help="error or warning: exit code 1 when one was found."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Ask the rules about a job that has ended or runs, and keep what they say in its output/findings.jsonl."""
    from pathlib import Path
    from typing import cast

    from vizsla.cli.console import errors, print_json, results
    from vizsla.debugging.evaluation import Compat
    from vizsla.errors import UsageError
    from vizsla.jobs.controller import find
    from vizsla.settings import settings
    from vizsla.workflow.debug import debug_job, split_parameters

    for option, value, allowed in (
        ("--compat", compat, ("vizsla", "aws")),
        ("--fail-on", fail_on, ("never", "error", "warning")),
    ):
        if value not in allowed:
            raise UsageError(f"There is no {value!r}.", where=option, allowed=", ".join(allowed))
    found = find(job, Path(settings().home))
    result = debug_job(found, rule, split_parameters(set_), cast(Compat, compat))
    if as_json:
        print_json(result.to_dict())
    out = results(as_json)
    for finding in result.findings:
        out.print(f"{finding.severity:<8} step {finding.step:<7} {finding.rule}", soft_wrap=True)
        out.print(f"         {finding.message}", soft_wrap=True, markup=False)
        out.print(f"         do: {finding.fix}", soft_wrap=True, markup=False)
    for name, why in result.broken.items():
        errors.print(f"the rule {name} failed itself: {why}", soft_wrap=True, markup=False)
    for text in result.remarks:
        errors.print(text, soft_wrap=True, markup=False)
    if not result.findings:
        out.print(f"{len(result.rules)} rules found nothing wrong in {result.steps:,} steps.")
    out.print(f"report  {result.report}", soft_wrap=True)
    errors.print(f"next    {found.output / 'findings.jsonl'} has these for scripts", soft_wrap=True)
    if fail_on != "never" and result.has(fail_on):
        raise typer.Exit(1)
