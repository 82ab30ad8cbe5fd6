"""``vizsla bias``: SageMaker Clarify's bias metrics of a table."""

from __future__ import annotations

import typer

from vizsla.cli.track import TrackingUri, record_on

app = typer.Typer(add_completion=False)


@app.command()
def bias(
    table: str | None = typer.Argument(
        None,
        help="A table (.csv, .jsonl, .parquet) with labels, groups and perhaps predictions. Default: the "
        "configuration's dataset_uri.",
    ),
    config: str = typer.Option(..., "--config", help="Clarify's analysis_config.json."),
    output: str | None = typer.Option(None, "--output", help="Folder of the results. Default: the job's output."),
    like_clarify: bool = typer.Option(
        False,
        "--like-clarify",
        help="Leave labels that one group lacks out of KL, JS, LP, TVD and KS, as Clarify does.",
    ),
    pdf: bool = typer.Option(False, "--pdf", help="Also print the report as PDF, with a browser that is there."),
    seed: int = typer.Option(0, help="Decides the bootstrap."),
    name: str | None = typer.Option(None, help="The job's name. Default: bias-TABLE-TIME."),
    model: str | None = typer.Option(
        None, help="Asked for predictions where the table has none, as the configuration's predictor says."
    ),
    allow_code: bool = typer.Option(False, "--allow-code", help="Run the own code of a model that brings some."),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Measure whether a group is treated otherwise than the rest, in labels and in predictions.

    The folder gets analysis.json in Clarify's form, report.html and metrics.csv.
    """
    from vizsla.cli.console import errors, live_view, print_json, print_note, results, titled_table
    from vizsla.workflow.bias import BiasRequest, measure_bias

    record_on(tracking_uri)
    with live_view() as view:
        request = BiasRequest(table, config, output, like_clarify, pdf, seed, name, model, allow_code)
        result = measure_bias(request, view)
    out = results(as_json)
    for group in result.analysis.groups:
        mark = ", too small to judge" if group.small else ""
        title = f"{group.facet} = {group.value}: {group.n:,} rows against {group.others:,}{mark}"
        shown = titled_table(title, "metric", ">value", ">95 % interval")
        for metric in (*group.pretraining, *group.posttraining):
            value = metric.error or "" if metric.value is None else f"{metric.value:.4f}"
            shown.add_row(
                metric.description, value, "" if metric.low is None else f"{metric.low:.4f} – {metric.high:.4f}"
            )
        out.print(shown)
    for note in result.analysis.notes:
        if note not in view.noted:
            print_note(note)
    out.print(f"analysis  {result.output / 'analysis.json'}\nreport    {result.report}", soft_wrap=True)
    if result.pdf is not None:
        out.print(f"pdf       {result.pdf}", soft_wrap=True)
    errors.print(f"next      open {result.report}", soft_wrap=True)
    if as_json:
        print_json(result.to_dict())
