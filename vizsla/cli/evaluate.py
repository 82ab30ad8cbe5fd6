"""``vizsla evaluate``: how good a saved model is on any labelled pictures, and where it is not."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING

import typer

from vizsla.cli.source import DATA_HELP, source_options
from vizsla.cli.track import TrackingUri, record_on

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.workflow.evaluation_request import EvaluateResult

app = typer.Typer(add_completion=False)


@app.command()
@source_options
def evaluate(
    model: str = typer.Argument(..., help="A model folder, a job's folder or name, or a model.tar.gz."),
    data: str = typer.Argument(..., help=DATA_HELP),
    *,
    source: SourceOptions,
    split: str | None = typer.Option(
        None,
        help="train, valid, test or all. Default: the test split where the data bring one, else valid, else all, less "
        "what the model was trained on.",
    ),
    against: str | None = typer.Option(None, help="Another model: which of the two is better on these pictures?"),
    training: str | None = typer.Option(None, help="Where the training pictures lie. Default: where the job had them."),
    store_temperature: bool = typer.Option(
        False, "--store-temperature", help="Write a copy of the model, calibrated on its validation pictures."
    ),
    seed: int = typer.Option(0, help="Decides every draw."),
    executor: str = typer.Option("local", help="Where pictures are looked at: local, ray, ray://HOST:PORT."),
    name: str | None = typer.Option(None, help="The job's name. Default: evaluate-DATA-TIME."),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Measure a saved model on labelled pictures, and write a report. Needs no torch.

    Classes are matched by name. The job's folder gets report.html, evaluation.json, predictions.csv and confusion.csv.
    """
    from vizsla.cli.console import live_view, print_json
    from vizsla.workflow.evaluate import evaluate_model
    from vizsla.workflow.evaluation_request import EvaluateRequest

    record_on(tracking_uri)
    request = EvaluateRequest(
        model,
        data,
        split,  # type: ignore[arg-type]
        against,
        training,
        store_temperature,
        source,
        name,
        seed,
        executor,
    )
    with live_view() as view:
        result = evaluate_model(request, view)
    _print(result, as_json, view.noted)
    if as_json:
        print_json(result.to_dict())


def _print(result: EvaluateResult, as_json: bool, noted: Collection[str]) -> None:
    from vizsla.cli.console import errors, print_note, results, titled_table
    from vizsla.cli.fit import score_table
    from vizsla.reports.model_evaluation import sentences
    from vizsla.reports.render import duration, percent

    e, out = result.evaluation, results(as_json)
    out.print(score_table(e, f"On {e.n:,} pictures ({result.which})"))
    mistakes = e.mistakes()[:5]
    if mistakes:
        table = titled_table("Confused most", "shows", "taken for", ">pictures")
        for truth, predicted, count in mistakes:
            table.add_row(e.classes[truth].name, e.classes[predicted].name, f"{count:,}")
        out.print(table)
    found = result.insights
    if found.slices:
        table = titled_table(
            f"Worse than the other pictures of the same classes (of {found.looked_at} slices looked at)",
            "slice",
            ">pictures",
            ">accuracy",
            ">the rest",
        )
        for one in found.slices:
            table.add_row(one.words, f"{len(one.rows):,}", percent(one.accuracy.value), percent(one.rest))
        out.print(table)
    if found.comparison is not None:
        out.print(found.comparison.words)
    for sentence in sentences(found):
        out.print(sentence)
    for note in result.notes:
        if note not in noted:
            print_note(note)
    out.print(f"{duration(sum(result.seconds.values()))} in all.")
    out.print(f"report  {result.report}", soft_wrap=True)
    if result.calibrated is not None:
        out.print(f"model   {result.calibrated}", soft_wrap=True)
    errors.print(
        f"next    vizsla explain {shlex.quote(str(result.model))} PICTURE... --output explained", soft_wrap=True
    )
