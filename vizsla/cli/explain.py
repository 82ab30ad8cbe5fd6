"""``vizsla explain``: why a saved model says what it says of pictures."""

from __future__ import annotations

import sys

import typer

from vizsla.cli.track import TrackingUri, record_on

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    model: str = typer.Argument(..., help="A model folder, a job's folder or name, or a model.tar.gz."),
    images: list[str] = typer.Argument(..., help="Picture files, and folders of them."),
    output: str | None = typer.Option(None, "--output", help="Folder of the results. Default: the job's output."),
    method: str = typer.Option(
        "cam", help="cam: the exact map of a network that ends in a global average. kernel_shap: segments, any network."
    ),
    label: str | None = typer.Option(None, help="The class to explain. Default: the one that the model names."),
    num_segments: int = typer.Option(20, min=2, help="kernel_shap: about how many segments (Clarify's name)."),
    segment_compactness: float = typer.Option(5.0, help="kernel_shap: large values give squares (Clarify's name)."),
    num_samples: int = typer.Option(500, min=10, help="kernel_shap: pictures to ask about for each picture."),
    baseline: str | None = typer.Option(
        None, help="kernel_shap: a picture of the same size that stands where a segment is away. Default: white noise."
    ),
    nearest: int = typer.Option(5, min=0, help="Training pictures that look most like it."),
    training: str | None = typer.Option(None, help="Where the training pictures lie. Default: where the job had them."),
    seed: int = typer.Option(0, help="Decides every draw."),
    name: str | None = typer.Option(None, help="The job's name. Default: explain-MODEL-TIME."),
    allow_code: bool = typer.Option(False, "--allow-code", help="kernel_shap: run the own code of a model."),
    pdf: bool = typer.Option(False, "--pdf", help="Also print the report as PDF, with a browser that is there."),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Show which places of a picture spoke for its class, and whether that can be believed. Needs no torch.

    The folder gets report.html, explanations.json and maps/. Pictures that cannot be read are named; the exit code is
    then 1.
    """
    from vizsla.cli.console import errors, live_view, print_json, print_note, results, titled_table
    from vizsla.workflow.explain import ExplainRequest, explain_model

    record_on(tracking_uri)
    request = ExplainRequest(
        model,
        images,
        output,
        method,  # type: ignore[arg-type]
        label,
        num_segments,
        segment_compactness,
        num_samples,
        baseline,
        nearest,
        training,
        seed,
        name,
        allow_code,
        pdf=pdf,
    )
    with live_view() as view:
        result = explain_model(request, view)
    out = results(as_json)
    table = titled_table(
        "What spoke for the class", "picture", "class", ">probability", ">deletion (noise)", ">insertion (noise)"
    )
    for e in result.explanations:
        f = e.faithfulness
        table.add_row(
            e.image,
            e.label,
            f"{100 * e.probability:.1f} %",
            f"{f.deletion:.3f} ({f.random_deletion:.3f})",
            f"{f.insertion:.3f} ({f.random_insertion:.3f})",
        )
    out.print(table)
    for note in result.notes:
        if note not in view.noted:
            print_note(note)
    out.print(f"report  {result.report}", soft_wrap=True)
    if as_json:
        print_json(result.to_dict())
    for image, error in result.errors.items():
        print(f"vizsla: {image}: {error}", file=sys.stderr)
    if result.errors:
        raise typer.Exit(1)
    errors.print(f"next    open {result.report}", soft_wrap=True)
