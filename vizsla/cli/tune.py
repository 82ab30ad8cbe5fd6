"""``vizsla tune``: search for hyperparameters; show, resume and export searches."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import typer.core

from vizsla.cli.hyperparameters import ASSIGNMENTS
from vizsla.cli.source import data_options, typed
from vizsla.cli.track import TrackingUri, record_on
from vizsla.parameters import speaking

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions
    from vizsla.workflow.request import FitResult
    from vizsla.workflow.script_search import ScriptSearchResult

_SEARCH, _SCRIPT, _BACKBONE, _FINAL = "Search", "Your own script", "Backbone", "The honest winner"


class _DataFirst(typer.core.TyperGroup):
    """``vizsla tune DATA`` means ``vizsla tune run DATA``, also where the folder is called ``show``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in ("--help", "-h") and (args[0] not in self.commands or _is_data(*args[:2])):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def _is_data(word: str, following: str = "") -> bool:
    """Whether a command's name is the folder of that name here: no job's name follows, which every command wants."""
    return Path(word).is_dir() and (not following or following.startswith("-") or "=" in following)


app = typer.Typer(cls=_DataFirst, add_completion=False, no_args_is_help=True)


@app.callback()
def _tune() -> None:
    """Search for the best hyperparameters: vizsla tune DATA [NAME=RANGE]...

    Without a script, all trials train heads on features that are computed once. With --script, each trial is a job.
    """


@app.command("run")
@data_options
def run(
    data: str = typer.Argument(
        ..., help="A folder of labelled pictures; with --script, a PATH or one CHANNEL=PATH after another."
    ),
    ranges: list[str] = typer.Argument(
        None, metavar="[NAME=RANGE]...", help="lr=0.001..0.1:log batch-size=16,32,64 epochs=2..4 momentum=0.9"
    ),
    *,
    source: SourceOptions,
    gate: GateOptions,
    space: list[str] = typer.Option(
        [], "--space", help="NAME=RANGE, or a YAML or JSON file of ranges. Repeat.", rich_help_panel=_SEARCH
    ),
    objective: str | None = typer.Option(
        None, help="The metric that decides. Default: valid_loss.", rich_help_panel=_SEARCH
    ),
    minimize: bool = typer.Option(False, "--minimize", help="Less of it is better.", rich_help_panel=_SEARCH),
    maximize: bool = typer.Option(False, "--maximize", help="More of it is better.", rich_help_panel=_SEARCH),
    strategy: str = typer.Option(
        "default", help="default (bayesian), tpe, gp, random, grid, asha or hyperband.", rich_help_panel=_SEARCH
    ),
    trials: int = typer.Option(20, "--trials", "--max-jobs", help="Most trials.", rich_help_panel=_SEARCH),
    max_parallel: int | None = typer.Option(
        None, "--max-parallel-jobs", help="Most trials at a time.", rich_help_panel=_SEARCH
    ),
    minutes: float | None = typer.Option(
        None, "--minutes", "--max-minutes", help="Most minutes that everything may take.", rich_help_panel=_SEARCH
    ),
    target: float | None = typer.Option(None, help="Stop at this value of the objective.", rich_help_panel=_SEARCH),
    patience: int | None = typer.Option(
        None,
        "--patience",
        "--no-improvement",
        help="Stop after so many trials in a row without a better one.",
        rich_help_panel=_SEARCH,
    ),
    early_stopping: str = typer.Option(
        "auto", help="auto gives hopeless trials up, off lets all end.", rich_help_panel=_SEARCH
    ),
    warm_start: list[str] = typer.Option(
        [], "--warm-start", metavar="JOB", help="An earlier tuning job to learn from. Repeat.", rich_help_panel=_SEARCH
    ),
    study: str | None = typer.Option(
        None, metavar="URI", help="A file or postgresql://... for the study.", rich_help_panel=_SEARCH
    ),
    seeds: int = typer.Option(1, help="Heads trained for each trial; their mean counts.", rich_help_panel=_FINAL),
    finalists: int | None = typer.Option(
        None, help="So many of the best are trained again. Default: 4; 0 with a script.", rich_help_panel=_FINAL
    ),
    finalist_seeds: int = typer.Option(5, help="Each finalist's seeds.", rich_help_panel=_FINAL),
    script: str | None = typer.Option(
        None, help="A .py or .sh file, run unmodified for each trial.", rich_help_panel=_SCRIPT
    ),
    source_dir: Path | None = typer.Option(None, help="A folder with the script.", rich_help_panel=_SCRIPT),
    metric: list[str] = typer.Option(
        [], "--metric", metavar="NAME=REGEX", help="A metric in the log. Repeat.", rich_help_panel=_SCRIPT
    ),
    channel: list[str] = typer.Option(
        [],
        "--data",
        metavar="CHANNEL=PATH",
        help="A further channel, as for train. Repeat.",
        rich_help_panel=_SCRIPT,
    ),
    hyperparameters: list[str] = typer.Option(
        [],
        "--hyperparameters",
        "--hp",
        metavar="NAME=VALUE[,...]",
        help="The same in every trial: pairs, a JSON object, or a .json or .yaml file.",
        rich_help_panel=_SEARCH,
    ),
    instance_type: str | None = typer.Option(
        None, help="A trial's share of the machine. Default: local-1cpu, and a GPU if any.", rich_help_panel=_SCRIPT
    ),
    executor: str = typer.Option(
        "local", help="What runs a script's trials, as for train; or looks at pictures, as for fit."
    ),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="With --executor sagemaker: print the request, and what it may cost; send nothing.",
        rich_help_panel=_SCRIPT,
    ),
    action: list[str] = typer.Option(
        [],
        "--action",
        metavar="RULE=ACTION[:VALUE]",
        help="As for train, in every trial. Default: exploding_tensor=stop.",
        rich_help_panel=_SCRIPT,
    ),
    backbone: str | None = typer.Option(None, help="As for fit.", rich_help_panel=_BACKBONE),
    weights: Path | None = typer.Option(None, help="As for fit.", rich_help_panel=_BACKBONE),
    random_init: bool = typer.Option(False, "--random-init", help="As for fit.", rich_help_panel=_BACKBONE),
    size: int | None = typer.Option(None, metavar="PIXELS", help="As for fit.", rich_help_panel=_BACKBONE),
    preset: str | None = typer.Option(
        None,
        help="Ranges and values by one name: last-layer-sgd or last-layer-adam. Ranges that are typed come in place "
        "of its own.",
        rich_help_panel=_SEARCH,
    ),
    epochs: int | None = typer.Option(
        None, min=1, help="Most epochs of a head, where not searched. Default: 40.", rich_help_panel=_SEARCH
    ),
    seed: int = typer.Option(0, help="Decides every draw."),
    name: str | None = typer.Option(None, help="The job's name. Default: tune-DATA-TIME."),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Search (the default): vizsla tune DATA [NAME=RANGE]..."""
    from dataclasses import replace

    from vizsla.cli.console import print_note
    from vizsla.cli.trials import trial_view
    from vizsla.errors import UsageError
    from vizsla.jobs.spec_input import with_actions
    from vizsla.tuning.head_space import default_space
    from vizsla.tuning.limits import SearchLimits
    from vizsla.tuning.presets import find_preset
    from vizsla.tuning.space_file import read_space
    from vizsla.workflow.script_search import ScriptSearch, channels_and_ranges, search_request, tune_script

    record_on(tracking_uri)
    if minimize and maximize:
        raise UsageError("--minimize and --maximize exclude each other.", do="leave one of them out")
    direction = "minimize" if minimize else "maximize" if maximize else None
    options: dict[str, Any] = {
        "limits": SearchLimits(trials, max_parallel, minutes, target, patience),
        "strategy": strategy,
        "early_stopping": early_stopping,
        "seeds": seeds,
        "finalist_seeds": finalist_seeds,
        "warm_start": tuple(warm_start),
        "study": study,
        "seed": seed,
    }
    if script is not None:
        if typed(source, gate):
            raise UsageError(
                "Options for labelled pictures have no effect on a script's channels.",
                where="vizsla tune --script",
                do="leave out " + ", ".join(typed(source, gate)),
            )
        own = {"--epochs": epochs, "--backbone": backbone, "--weights": weights, "--random-init": random_init}
        own |= {"--size": size, "--preset": preset}
        _check_effect(own, "vizsla tune --script", "write it as the script names it: --hp epochs=5")
        channels, own_ranges = channels_and_ranges([data, *(ranges or [])], print_note)
        names = [text.partition("=")[0] for text in metric]
        own_space = read_space([*space, *own_ranges], note=print_note)
        search = search_request(own_space, objective, direction, names, finalists, **options)
        fixed = source_dir, [*channels, *channel], hyperparameters, metric, instance_type, name
        request = ScriptSearch.of(script, *fixed, search=search, executor=executor)
        request = replace(request, spec=with_actions(request.spec, action))
        if dry_run:
            from vizsla.cli.dry_run import print_dry_run
            from vizsla.workflow.dry_run import dry_run_search

            print_dry_run(dry_run_search(request), as_json=as_json)
            return
        with trial_view() as view:
            result = tune_script(request, view)
        _print_script(result, as_json, view.noted)
        return

    scripts: dict[str, Any] = {
        "--source-dir": source_dir,
        "--data": channel,
        "--metric": metric,
        "--instance-type": instance_type,
    }
    scripts |= {"--action": action, "--dry-run": dry_run}
    _check_effect(scripts, "vizsla tune DATA", "add --script")
    from vizsla.workflow.fit import fit
    from vizsla.workflow.request import FitRequest

    usual = default_space if preset is None else find_preset(preset).space
    head_space = read_space([*space, *(ranges or [])], usual, note=print_note)
    search = search_request(head_space, objective, direction, None, finalists, **options)
    with speaking(ASSIGNMENTS):
        fit_request = FitRequest.of(
            data,
            {} if epochs is None else {"epochs": epochs},
            hyperparameters,
            tune=search,
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
        with trial_view() as view:
            fit_result = fit(fit_request, view)
    _print_fit(fit_result, as_json, view.noted)


@app.command("resume")
def resume(
    name: str = typer.Argument(..., help="A tuning job that was killed, stopped or failed."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Go on with a search: no trial is lost or run twice."""
    from vizsla.cli.trials import trial_view
    from vizsla.workflow.tune import find, is_script
    from vizsla.workflow.tune import resume as go_on

    record_on(None)
    if is_script(find(name)):
        from vizsla.workflow.script_search import resume_script

        with trial_view() as view:
            script_result = resume_script(name, view)
        _print_script(script_result, as_json, view.noted)
        return
    with speaking(ASSIGNMENTS), trial_view() as view:
        result = go_on(name, view)
    _print_fit(result, as_json, view.noted)


@app.command("show")
def show(
    name: str = typer.Argument(..., help="A tuning job, running or ended."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """The trials of a search and the best so far."""
    from vizsla.cli.console import errors, print_json, results
    from vizsla.progress.trials import table
    from vizsla.workflow.tune import load_tuning

    tuning = load_tuning(name)
    winner = tuning.winner()
    out = results(as_json)
    out.print(table(tuning.trials, tuning.objective, winner=None if winner is None else winner.number))
    state = tuning.job.state
    out.print(f"{tuning.name} is {state.status}{f': {state.reason}' if state.reason else ''}.")
    if winner is not None:
        errors.print(f"next    vizsla tune export {tuning.name}", soft_wrap=True)
    if not state.has_ended or not state.ended_well:
        errors.print(f"next    vizsla tune resume {tuning.name}", soft_wrap=True)
    if as_json:
        print_json(
            {
                "HyperParameterTuningJobName": tuning.name,
                "HyperParameterTuningJobStatus": state.status,
                "HyperParameterTuningJobConfig": tuning.request.to_dict(),
                "BestTrainingJob": winner and winner.to_dict(),
                "TrainingJobSummaries": [t.to_dict() for t in tuning.trials],
                "report": str(tuning.job.output / "tuning.html"),
            }
        )


@app.command("export")
def export(
    name: str = typer.Argument(..., help="A tuning job."),
    output: Path | None = typer.Option(None, "--output", "-o", help="A .json, or .csv (all trials). Default: stdout."),
) -> None:
    """The best hyperparameters, as fit and train take them: vizsla fit DATA --hyperparameters best.json"""
    import json
    import shlex

    from vizsla.cli.console import errors
    from vizsla.files import write_bytes
    from vizsla.workflow.tune import is_script, load_tuning

    tuning = load_tuning(name)
    if output is not None and output.suffix == ".csv":
        write_bytes(output, tuning.analytics().csv().encode(), make_folder=True)
        return
    text = json.dumps(tuning.best_hyperparameters())
    if output is None:
        print(text)
        return
    write_bytes(output, (text + "\n").encode(), make_folder=True)
    words = ["vizsla", "train", "--script", "SCRIPT", "--data", "DATA"]
    if not is_script(tuning.job):
        words = ["vizsla", "fit", tuning.data]
        for parameter, value in tuning.backbone().items():
            words += [f"--{parameter.replace('_', '-')}", *([] if value is True else [str(value)])]
    errors.print(f"next    {shlex.join([*words, '--hyperparameters', str(output)])}", soft_wrap=True)


def _check_effect(options: dict[str, Any], where: str, do: str) -> None:
    from vizsla.errors import UsageError

    if idle := sorted(option for option, value in options.items() if value):
        raise UsageError(f"{', '.join(idle)} would have no effect here.", where=where, do=do)


def _print_fit(result: FitResult, as_json: bool, noted: Collection[str]) -> None:
    from vizsla.cli.console import print_json
    from vizsla.cli.fit import print_result
    from vizsla.cli.trials import print_search

    assert result.search is not None
    print_search(result.search, as_json, noted)
    print_result(result, as_json, noted)
    _print_next(result.job, result.job / "output" / "tuning.html", as_json)
    if as_json:
        print_json(result.to_dict())


def _print_script(result: ScriptSearchResult, as_json: bool, noted: Collection[str]) -> None:
    from vizsla.cli.console import print_json
    from vizsla.cli.trials import print_search

    print_search(result.search, as_json, noted)
    _print_next(result.job, result.report, as_json)
    if as_json:
        print_json({"job": str(result.job), "report": str(result.report), "tuning": result.search.to_dict()})


def _print_next(job: Path, report: Path, as_json: bool) -> None:
    from vizsla.cli.console import errors, results

    results(as_json).print(f"search  {report}", soft_wrap=True)
    errors.print(f"next    vizsla tune export {job.name} -o best.json", soft_wrap=True)
