"""``vizsla jobs``: what was run, what runs, and what to do with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vizsla.cli.track import record_on

if TYPE_CHECKING:
    from vizsla.jobs.directory import JobDirectory

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, show, follow, stop, resume and remove jobs.")

_NAME = typer.Argument(..., help="The job's name, or its folder.")
_JSON = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout.")
_GRACE = typer.Option(30.0, "--grace", min=0, help="Seconds between SIGTERM and SIGKILL.")


@app.command("list")
def list_(
    status: str | None = typer.Option(None, help="Only jobs in this state, such as Failed."),
    last: int = typer.Option(50, "--last", min=0, help="Only so many of the newest; 0 shows all."),
    as_json: bool = _JSON,
) -> None:
    """List the jobs, the newest last."""
    from rich.table import Table

    from vizsla.cli.console import errors, print_json, results
    from vizsla.errors import UsageError
    from vizsla.jobs.controller import UNREADABLE, summaries
    from vizsla.jobs.states import STATUSES
    from vizsla.settings import settings

    if status is not None and status.lower() not in {known.lower() for known in (*STATUSES, UNREADABLE)}:
        raise UsageError(f"There is no state {status!r}.", where="--status", allowed=", ".join((*STATUSES, UNREADABLE)))
    home = settings().home
    jobs = [job for job in summaries(home) if status is None or job.status.lower() == status.lower()]
    shown = jobs[-last:] if last else jobs
    if as_json:
        print_json(
            {
                "home": settings().bucket or str(home.absolute()),
                "count": len(jobs),
                "jobs": [job.to_dict() for job in shown],
            }
        )
        return
    table = Table(title=f"Jobs in {settings().bucket or home}", title_justify="left", show_edge=False, expand=True)
    for column in ("name", "kind", "state", "took"):
        table.add_column(column, no_wrap=True, justify="right" if column == "took" else "left")
    table.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1)  # the rest of the line; `jobs show` has all
    for job in shown:
        took = "" if job.seconds is None else f"{job.seconds:.1f} s"
        table.add_row(job.name, job.kind, job.status, took, (job.reason or job.problem or "").split("\n")[0])
    results().print(table)
    if len(shown) < len(jobs):
        errors.print(f"{len(jobs) - len(shown):,} older jobs are not shown (--last 0 shows all).")


@app.command()
def show(name: str = _NAME, as_json: bool = _JSON) -> None:
    """Show one job: its state, request, metrics and results."""
    from dataclasses import asdict

    from vizsla.cli.console import print_json, results
    from vizsla.jobs.metrics import last_metrics
    from vizsla.jobs.tracking import error_of

    job = _find(name)
    if not as_json:
        out = results()
        for label, value in _lines(job):
            if value is not None:
                out.print(f"{label:<24} {value}", soft_wrap=True)
        return
    metrics = last_metrics(job.metrics)
    print_json(
        {
            "name": job.name,
            "directory": str(job.path),
            "kind": job.kind,
            "executor": job.executor,
            "parent": job.parent,
            "state": asdict(job.state),
            "request": job.document,
            "metrics": {name: {"value": m.value, "step": m.step, "epoch": m.epoch} for name, m in metrics.items()},
            "missing_metrics": job.state.missing_metrics,
            "failure": job.failure.read_text(errors="replace") if job.failure.is_file() else None,
            "tracking_error": error_of(job),
        }
    )


def _lines(job: JobDirectory) -> list[tuple[str, str | None]]:
    """What ``show`` prints of a job: labels and values."""
    import contextlib

    from vizsla.errors import VizslaError
    from vizsla.jobs.hyperparameters import decoded, is_users
    from vizsla.jobs.kinds import kind_of
    from vizsla.jobs.metrics import last_metrics
    from vizsla.jobs.scrape import no_value
    from vizsla.jobs.tracking import error_of
    from vizsla.settings import settings

    state, bucket = job.state, settings().bucket
    lines = [("job", job.name), ("state", state.status), ("reason", state.reason), ("folder", str(job.path))]
    lines += [("address", bucket and f"{bucket}/{job.name}")]
    lines += [("executor", job.executor)]
    lines += [("created", state.created), ("started", state.started), ("ended", state.ended)]
    lines += [("attempts", str(state.attempts))]
    strings: dict[str, str] = {}
    with contextlib.suppress(VizslaError):  # of another version
        strings = dict(kind_of(job.kind).spec(job.document).hyper_parameters)
    values = decoded(strings)
    if "sagemaker_program" in values:
        lines += [("script", f"{values['sagemaker_program']} of {values.get('sagemaker_submit_directory')}")]
    users = {name: value for name, value in values.items() if is_users(name)}
    lines += [(f"  {name}", value if isinstance(value, str) else strings[name]) for name, value in users.items()]
    lines += [(f"{metric.name} (last)", f"{metric.value:g}") for metric in last_metrics(job.metrics).values()]
    lines += [(f"{name} (no value)", no_value(matched)) for name, matched in state.missing_metrics.items()]
    if error := error_of(job):
        lines += [("not recorded", f"{error['error']} (at {error['uri']}, {error['time']})")]
    return lines


@app.command()
def logs(
    name: str = _NAME,
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until the job ends."),
    as_json: bool = typer.Option(False, "--json", help="Print each line of the log as a JSON object."),
) -> None:
    """Print a job's log to stdout."""
    import sys
    import time

    from vizsla.cli.console import print_json
    from vizsla.jobs.controller import executor_of
    from vizsla.jobs.events import Handle

    job, at, begun = _find(name), None, ""
    executor, handle = executor_of(job), Handle.of(job)
    while True:
        ended = executor.state(handle).has_ended  # before the log is read, so that its end is not missed
        text, at = executor.logs(handle, at)
        over = not text and (ended or not follow)
        if as_json:
            *lines, begun = (begun + text).split("\n")
            for line in [*lines, begun] if over and begun else lines:
                print_json({"name": job.name, "line": line})
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
        if over:
            return
        if not text:
            time.sleep(0.1)


@app.command()
def stop(name: str = _NAME, grace: float = _GRACE, as_json: bool = _JSON) -> None:
    """End a job: SIGTERM, and SIGKILL after the grace."""
    from vizsla.cli.console import errors, print_json
    from vizsla.jobs.controller import executor_of
    from vizsla.jobs.events import Handle

    job = _find(name)
    state = executor_of(job).end(Handle.of(job), grace, "stopped by `vizsla jobs stop`")
    errors.print(f"{job.name} is {state.status}: {state.reason}", soft_wrap=True)
    if as_json:
        print_json({"name": job.name, "status": state.status, "reason": state.reason})


@app.command()
def resume(name: str = _NAME, as_json: bool = _JSON) -> None:
    """Go on with a job that failed or was stopped or killed, and follow it; one that still runs is taken over."""
    from vizsla.cli.following import follow_to_end
    from vizsla.jobs.controller import executor_of
    from vizsla.jobs.events import NOW, Handle

    record_on(None)
    job = _find(name)
    executor, handle = executor_of(job), Handle.of(job)
    since = executor.poll([handle], NOW).since  # what was printed before is in the log
    executor.resume(handle)
    follow_to_end(executor, handle, as_json=as_json, since=since)


@app.command()
def rm(
    names: list[str] = typer.Argument(..., help="Names or folders of jobs that have ended."), as_json: bool = _JSON
) -> None:
    """Delete jobs with everything in their folders; none where one of the names is wrong."""
    from vizsla.cli.console import errors, print_json
    from vizsla.jobs.controller import executor_of, find
    from vizsla.jobs.events import Handle
    from vizsla.settings import settings

    jobs = list(dict.fromkeys(find(name, settings().home, damaged=True) for name in names))  # each once
    for job in jobs:
        executor_of(job).check_removable(Handle.of(job))  # before any is removed
    removed: list[str] = []
    try:
        for job in jobs:
            executor_of(job).remove(Handle.of(job))
            errors.print(f"removed {job.name}")
            removed.append(job.name)
    finally:
        if as_json and removed:
            print_json({"removed": removed})


def _find(name: str) -> JobDirectory:
    from vizsla.jobs.controller import find
    from vizsla.settings import settings

    return find(name, Path(settings().home))
