"""``vizsla train``: the built-in training, or a user's own script, as a job in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from vizsla.cli.track import TrackingUri, record_on

app = typer.Typer(add_completion=False)

_SCRIPT = "Your own script"
_JOB = "Job"


@app.command()
def train(
    source: str | None = typer.Argument(
        None,
        metavar="[DATA]",
        help="The built-in training: a folder of labelled pictures, or another source, as for fit.",
    ),
    script: str | None = typer.Option(
        None, help="A .py or .sh file: runs unmodified, as in a SageMaker training job.", rich_help_panel=_SCRIPT
    ),
    source_dir: Path | None = typer.Option(
        None, help="A folder with the script, what it imports, and requirements.txt.", rich_help_panel=_SCRIPT
    ),
    data: list[str] = typer.Option(
        [],
        "--data",
        metavar="CHANNEL=PATH",
        help="A folder, a file, or s3://bucket/prefix. Repeat for each channel; a PATH alone is 'training'.",
        rich_help_panel=_SCRIPT,
    ),
    metric: list[str] = typer.Option(
        [],
        "--metric",
        metavar="NAME=REGEX",
        help="A metric in the log: the first group is its value. Repeat.",
        rich_help_panel=_SCRIPT,
    ),
    hyperparameters: list[str] = typer.Option(
        [],
        "--hyperparameters",
        "--hp",
        metavar="NAME=VALUE[,NAME=VALUE...]",
        help="Also a JSON object, or a .json or .yaml file. Repeat; a value with a comma is an option of its own.",
        rich_help_panel=_JOB,
    ),
    instance_type: str | None = typer.Option(
        None, help="local (the default) is all of this machine, local-1cpu a share.", rich_help_panel=_JOB
    ),
    minutes: float | None = typer.Option(
        None, help="Most minutes: a script is stopped then; our own training ends in time.", rich_help_panel=_JOB
    ),
    request: Path | None = typer.Option(
        None, help="A JSON file with a CreateTrainingJob document, instead of all these.", rich_help_panel=_JOB
    ),
    name: str | None = typer.Option(None, help="The job's name. Default: train-WHAT-TIME.", rich_help_panel=_JOB),
    executor: str = typer.Option(
        "local",
        help="local: a process of its own. debug: this one, where breakpoint() and a debugger work. ray, or "
        "ray://HOST:PORT: a node of that cluster. sagemaker: AWS.",
        rich_help_panel=_JOB,
    ),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="With --executor sagemaker: print the request, and what it may cost; send nothing.",
        rich_help_panel=_JOB,
    ),
    action: list[str] = typer.Option(
        [],
        "--action",
        metavar="RULE=ACTION[:VALUE]",
        help="What follows when a rule of the debugger speaks: stop, lower_learning_rate:0.1, roll_back, webhook:URL, "
        "command:WORDS. RULE may be any (of the severity error). Repeat.",
        rich_help_panel=_JOB,
    ),
    tracking_uri: TrackingUri = None,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout."),
) -> None:
    """Train as a job in a process of its own, and follow it.

    Ctrl-C stops the job; `vizsla jobs resume` goes on with it.
    """
    from vizsla.cli.following import follow_to_end
    from vizsla.errors import UsageError
    from vizsla.jobs.executors import open_executor
    from vizsla.jobs.spec_input import builtin_spec, read_spec, typed_script_spec, with_actions

    record_on(tracking_uri)
    runs = open_executor(executor)
    _check_one({"DATA": source, "--script": script, "--request": request})
    if source is not None and source.endswith((".py", ".sh")):
        raise UsageError(
            f"{source!r} is a script, and DATA are pictures.", where="DATA", do=f"vizsla train --script {source}"
        )
    instance = instance_type or "local"
    of_scripts = {"--source-dir": source_dir, "--data": data, "--metric": metric}
    of_jobs = {"--hyperparameters": hyperparameters, "--instance-type": instance_type, "--minutes": minutes}
    of_jobs["--action"] = action
    if request is not None:
        _check_effect(
            of_scripts | of_jobs,
            where="vizsla train --request",
            allowed="--name, --executor, --dry-run, --tracking-uri and --json beside --request",
            do="write it into the document",
        )
        spec, about = read_spec(request, name), request.stem
    elif script is not None:
        limits: dict[str, Any] = {"instance_type": instance, "minutes": minutes, "name": name}
        spec = typed_script_spec(script, source_dir, data, hyperparameters, metric, **limits)
        about = Path(script).stem
    else:
        from vizsla.parameters import DOCUMENT, speaking
        from vizsla.workflow.document import from_spec

        _check_effect(
            of_scripts,
            where="vizsla train DATA",
            allowed="--source-dir, --data and --metric belong to --script",
            do="leave it out, or name a script",
        )
        assert source is not None
        spec, about = builtin_spec(source, hyperparameters, instance, minutes, name), Path(source).resolve().name
        with speaking(DOCUMENT):  # all that it is given are hyperparameters
            from_spec(spec)  # what it cannot mean is said before there is a job
    spec = with_actions(spec, action)
    if dry_run:
        from vizsla.cli.dry_run import print_dry_run
        from vizsla.workflow.dry_run import dry_run as request_of

        print_dry_run(request_of(runs, spec, about), as_json=as_json)
        return
    handle = runs.submit(spec, about)
    follow_to_end(runs, handle, as_json=as_json)


def _check_one(sources: dict[str, Any]) -> None:
    from vizsla.errors import UsageError

    named = [f"{option} {str(value)!r}" for option, value in sources.items() if value is not None]
    if len(named) != 1:
        raise UsageError(
            f"More than one thing to train: {' and '.join(named)}." if named else "Nothing to train.",
            allowed="one of a source of pictures (DATA), --script, or --request; data of a script are --data",
            do="vizsla train photos/, or vizsla train --script train.py --data photos/",
        )


def _check_effect(options: dict[str, Any], **words: str) -> None:
    from vizsla.errors import UsageError

    if idle := [option for option, value in options.items() if value]:
        raise UsageError(f"{', '.join(idle)} would have no effect here.", **words)
