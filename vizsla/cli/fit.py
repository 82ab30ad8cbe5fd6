"""``vizsla fit``: a folder of labelled pictures becomes a classifier."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vizsla.cli.hyperparameters import hyperparameter_options
from vizsla.cli.source import DATA_HELP, data_options
from vizsla.cli.track import TrackingUri, record_on

if TYPE_CHECKING:
    from rich.table import Table

    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions
    from vizsla.evaluation import Evaluation
    from vizsla.workflow.plan import Plan
    from vizsla.workflow.request import FitResult

app = typer.Typer(add_completion=False)

_BACKBONE = "Backbone"
_HEAD = "Head"


@app.command()
@data_options
@hyperparameter_options
def fit(
    data: str = typer.Argument(..., help=DATA_HELP),
    *,
    source: SourceOptions,
    gate: GateOptions,
    backbone: str | None = typer.Option(
        None,
        help="Any timm image model; several with commas, or auto (all at hand), are tried on a sample. Default: the "
        "one in --weights, else resnet18.",
        rich_help_panel=_BACKBONE,
    ),
    weights: Path | None = typer.Option(
        None,
        help="Local weights: a folder with config.json and model.safetensors, or a .safetensors or .pth file. "
        "Default: the hub's.",
        rich_help_panel=_BACKBONE,
    ),
    random_init: bool = typer.Option(
        False, "--random-init", help="An untrained backbone, for trying things out.", rich_help_panel=_BACKBONE
    ),
    size: int | None = typer.Option(
        None,
        metavar="PIXELS",
        help="Side of what the backbone sees of a picture. Default: as its weights were trained, often 224.",
        rich_help_panel=_BACKBONE,
    ),
    preset: str | None = typer.Option(
        None,
        help="Hyperparameters by one name, as scripts train: last-layer-sgd or last-layer-adam. Prints each epoch; an "
        "option of its own comes first.",
        rich_help_panel=_HEAD,
    ),
    values: dict[str, Any],
    hyperparameters: list[str] = typer.Option(
        [],
        "--hyperparameters",
        "--hp",
        metavar="NAME=VALUE[,...]",
        help="Also a JSON object, or a .json or .yaml file as `vizsla tune export` gives it; an option of its own "
        "name, such as --lr, comes first.",
        rich_help_panel=_HEAD,
    ),
    tune: int | None = typer.Option(
        None,
        min=1,
        metavar="TRIALS",
        help="Search the head's hyperparameters first, but those that are given: see tune.",
        rich_help_panel=_HEAD,
    ),
    seed: int = typer.Option(0, help="Decides every draw: the same seed gives the same bits."),
    minutes: float | None = typer.Option(None, help="Most minutes that the whole job may take."),
    executor: str = typer.Option(
        "local", help="Where pictures are looked at: local, or the cores of a cluster: ray, ray://HOST:PORT."
    ),
    name: str | None = typer.Option(None, help="The job's name. Default: train-DATA-TIME."),
    tracking_uri: TrackingUri = None,
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done and how long it would take."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Train, evaluate and save a classifier, and write a report.

    The job's folder (under runs/, or VIZSLA_HOME) gets the model, model.tar.gz, report.html and the metrics.
    """
    from vizsla.cli.console import live_view, print_json
    from vizsla.workflow.fit import fit as run
    from vizsla.workflow.request import FitRequest

    record_on(tracking_uri)
    request = FitRequest.of(
        data,
        values,
        hyperparameters,
        tune=tune,
        seed=seed,
        preset=preset,
        backbone=backbone,
        weights=weights,
        random_init=random_init,
        size=size,
        minutes=minutes,
        executor=executor,
        name=name,
        source=source,
        gate=gate,
    )
    if dry_run:
        from vizsla.workflow.plan import plan

        with live_view() as view:
            planned = plan(request, view)
        _print_plan(planned, as_json)
        if as_json:
            print_json(planned.to_dict())
        return
    if tune is not None:
        from vizsla.cli.trials import print_search, trial_view

        with trial_view() as trials:
            result = run(request, trials)
        assert result.search is not None
        print_search(result.search, as_json, trials.noted)
    else:
        with live_view() as view:
            result = run(request, view)
    print_result(result, as_json, (trials if tune is not None else view).noted)
    if as_json:
        print_json(result.to_dict())


def print_result(result: FitResult, as_json: bool, noted: Collection[str] = ()) -> None:
    """What was measured, and what to type next; of the warnings those that were not ``noted`` on the way."""
    from rich.text import Text

    from vizsla.cli.console import errors, print_note, results
    from vizsla.reports.render import duration

    e, out = result.evaluation, results(as_json)
    out.print(score_table(e, f"On {e.n:,} test pictures"))
    for warning in result.warnings:
        if warning not in noted:
            print_note(warning)
    speed = f", {result.images_per_second:.0f} pictures a second" if result.images_per_second else ""
    out.print(f"{duration(sum(result.seconds.values()))} in all ({result.computed:,} features computed{speed}).")
    model = _near(result.model)
    out.print(f"model   {model}\nreport  {_near(result.report)}", soft_wrap=True)
    errors.print(Text.assemble("next    ", (f"vizsla predict {model} PICTURE...", "bold")), soft_wrap=True)
    errors.print(Text.assemble("        ", (f"vizsla serve {model}", "bold")), soft_wrap=True)


def score_table(e: Evaluation, title: str) -> Table:
    """The headline numbers with their intervals."""
    from vizsla.cli.console import titled_table
    from vizsla.reports.render import percent

    table = titled_table(title, "metric", ">value", ">95 % interval")
    percents = [("accuracy", e.accuracy), ("macro F1", e.macro_f1), (f"top-{e.top_k}", e.top5)]
    if e.unequal:
        percents.insert(1, ("balanced accuracy", e.balanced_accuracy))
    for name, estimate in [*percents, ("calibration error (ECE)", e.ece)]:
        always = name.startswith("top-") and e.top_k == len(e.classes)
        interval = f"{percent(estimate.low)} – {percent(estimate.high)}"
        table.add_row(name, percent(estimate.value), "always, with so few classes" if always else interval)
    table.add_row("loss (nats)", f"{e.loss.value:.3f}", f"{e.loss.low:.3f} – {e.loss.high:.3f}")
    table.add_row(f"always {e.constant.label!r}", percent(e.constant.accuracy), "the accuracy of no model")
    return table


def _print_plan(planned: Plan, as_json: bool) -> None:
    from vizsla.cli.console import errors, print_note, results, titled_table
    from vizsla.reports.render import duration

    table = titled_table("What would be done", "stage", "what", ">expected")
    for stage in planned.stages:
        table.add_row(stage.name, stage.what, duration(stage.seconds))
    table.add_row("", "in all", f"about {duration(planned.seconds)}")
    results(as_json).print(table)
    for warning in planned.warnings:
        print_note(warning)
    errors.print("next    the same command without --dry-run")


def _near(path: Path) -> str:
    """The path as it can be typed: from here, where that is shorter."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
