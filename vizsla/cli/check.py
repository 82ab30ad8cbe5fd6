"""``vizsla check``: what is wrong with a data set, before anything is trained on it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vizsla.cli.source import DATA_HELP, data_options, typed

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions
    from vizsla.workflow.check import CheckResult

app = typer.Typer(add_completion=False)

_LABELS = "Label errors"
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


@app.command()
@data_options
def check(
    data: str = typer.Argument(..., help=DATA_HELP),
    *,
    source: SourceOptions,
    gate: GateOptions,
    label_errors: bool = typer.Option(
        False,
        "--label-errors",
        help="Also look for wrong labels, by a model trained without them (computes features; fit shares them).",
        rich_help_panel=_LABELS,
    ),
    backbone: str | None = typer.Option(None, help="As in fit.", rich_help_panel=_LABELS),
    weights: Path | None = typer.Option(None, help="As in fit.", rich_help_panel=_LABELS),
    seed: int = typer.Option(0, help="Decides the splits that the source does not bring."),
    fail_on: str | None = typer.Option(
        None, "--fail-on", help="End with exit code 1 where a finding is an error, or where one is at least a warning."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Look at every picture: damaged ones, copies, leaks between splits, classes, quality, wrong labels.

    Nothing is moved or deleted. Decisions and splits are kept in a manifest, which fit reads.

    The exit code is 0 where fit can train on the data, else 1; --fail-on makes it 1 for findings, too.
    """
    from vizsla.cli.console import live_view, print_json
    from vizsla.errors import UsageError
    from vizsla.workflow.check import CheckRequest
    from vizsla.workflow.check import check as run
    from vizsla.workflow.gate import DataRequest

    if fail_on not in (None, "error", "warning"):
        raise UsageError(f"--fail-on {fail_on!r} is not known.", where="--fail-on", allowed="error, warning")
    request = CheckRequest.of(DataRequest(data, source, gate, seed), label_errors, backbone, weights)
    with live_view() as view:
        result = run(request, view)
    _print(result, as_json, " ".join([shlex.quote(data), *typed(source, gate)]))
    if as_json:
        print_json(result.to_dict())
    if result.fails(fail_on):  # type: ignore[arg-type]
        raise typer.Exit(1)


def _print(result: CheckResult, as_json: bool, data: str) -> None:
    from rich.text import Text

    from vizsla.cli.console import print_note, results, titled_table
    from vizsla.data.checks import layout

    dataset, out = result.checked.gated.facts.dataset, results(as_json)
    out.print(dataset.layout, soft_wrap=True)
    for note in result.notes:
        print_note(note)
    if result.findings:
        table = titled_table(f"In {len(dataset):,} pictures", "severity", "finding", ">files", "what was seen")
        for finding in result.findings:
            colour = _COLOURS[finding.severity]
            first = f" Such as {finding.files[0].path}." if finding.files else ""
            shown = Text(finding.evidence + first)
            if finding.severity == "error" or finding.id in layout.IDS:
                shown.append("\ndo: ", "bold").append(finding.fix)
            files = f"{len(finding.files):,}" if finding.files else "–"
            table.add_row(Text(finding.severity, colour), finding.id, files, shown)
        out.print(table)
    else:
        out.print(f"Nothing to object to in {len(dataset):,} pictures.")
    out.print(f"{int(result.checked.gated.usable.sum()):,} of {len(dataset):,} pictures are used.")
    out.print(f"manifest  {result.checked.manifest}", soft_wrap=True)
    out.print(f"findings  {result.findings_file}\nreport    {result.report}", soft_wrap=True)
    verb, when = ("fit", "") if result.refusal is None else ("check", " (when that is mended)")
    out.print(f"next      vizsla {verb} {data}{when}", soft_wrap=True)
