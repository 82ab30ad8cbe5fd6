"""``vizsla models``: the registry: versions, their approval, their proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vizsla.registry.package import ModelPackage

app = typer.Typer(add_completion=False, no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="Print one JSON object as the last line of stdout.")
_VERSION = typer.Argument(..., metavar="VERSION", help="GROUP/VERSION, or GROUP@ALIAS.")
_WHY = typer.Option(None, "--why", help="The reason, which is kept.")


@app.command()
def register(
    model: str = typer.Argument(..., metavar="JOB", help="A job, a model's folder, or a model.tar.gz."),
    group: str = typer.Option(..., "--group", help="The model package group; made where there is none."),
    pictures: str | None = typer.Option(None, help="Pictures that prove it. Default: test pictures of the job."),
    description: str | None = typer.Option(None, help="A line about this version."),
    allow_code: bool = typer.Option(False, "--allow-code", help="Run the own code of a model that brings some."),
    as_json: bool = _JSON,
) -> None:
    """Register a model as a group's next version, when evaluation, saved model, endpoint and batch transform agree."""
    from vizsla.cli.console import print_json, results
    from vizsla.workflow.registration import register as register_model

    done = register_model(model, group, pictures=pictures, description=description, allow_code=allow_code)
    if as_json:
        print_json(done.package.to_dict())
    out, proof = results(as_json), done.proof
    out.print(f"registered {done.package.name}: {done.package.status}")
    out.print(
        f"proof      {proof.pictures:,} pictures, the same first class for {proof.same:.1%}, largest difference "
        f"{proof.largest:.1e} ({', '.join(proof.parties)})"
    )
    out.print(f"next       vizsla models approve {done.package.name} --alias champion")


@app.command("list")
def list_versions(
    group: str | None = typer.Option(None, "--group", help="Of this group only."),
    status: str | None = typer.Option(None, "--status", help="PendingManualApproval, Approved or Rejected."),
    as_json: bool = _JSON,
) -> None:
    """List versions, the newest of each group last."""
    from vizsla.cli.console import print_json, results, titled_table
    from vizsla.jobs.tracking import masked
    from vizsla.registry.place import registry_uri
    from vizsla.registry.reading import packages

    found = [package for package in packages(group) if status is None or package.status == status]
    if as_json:
        print_json({"registry": masked(registry_uri()), "count": len(found), "versions": [p.to_dict() for p in found]})
        return
    table = titled_table("Model registry", "version", "status", "aliases", ">accuracy", "job", "created")
    for package in found:
        table.add_row(*_cells(package))
    results().print(table)


def _cells(package: ModelPackage) -> list[str]:
    accuracy = package.metrics.get("accuracy")
    shown = f"{accuracy:.2%}" if isinstance(accuracy, float) else ""
    aliases, job = ", ".join(package.aliases), str(package.lineage.get("job") or "")
    return [package.name, package.status, aliases, shown, job, package.created[:19].replace("T", " ")]


@app.command()
def show(version: str = _VERSION, as_json: bool = _JSON) -> None:
    """Show one version: approval, metrics, lineage, proof, and whether its files are those that were registered."""
    from vizsla.cli.console import print_json, results
    from vizsla.registry.reading import find
    from vizsla.workflow.registration import described

    facts = described(find(version))
    if as_json:
        print_json(facts)
        return
    out = results()
    for label, value in _lines(facts):
        out.print(f"{label:<28} {value}", soft_wrap=True)


def _lines(facts: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{before}{name}.")
        elif value not in (None, [], ""):
            lines.append((before + name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return lines


@app.command()
def approve(
    version: str = _VERSION,
    why: str | None = _WHY,
    alias: str | None = typer.Option(None, "--alias", help="Give it this alias at once, such as champion."),
    as_json: bool = _JSON,
) -> None:
    """Approve a version, when its files are still those that were proven."""
    _decide(version, "Approved", why, alias, as_json)


@app.command()
def reject(version: str = _VERSION, why: str | None = _WHY, as_json: bool = _JSON) -> None:
    """Reject a version; its aliases are taken away."""
    _decide(version, "Rejected", why, None, as_json)


def _decide(version: str, status: Any, why: str | None, alias: str | None, as_json: bool) -> None:
    from vizsla.cli.console import print_json, results
    from vizsla.workflow.registration import decide

    package = decide(version, status, why, alias=alias)
    if as_json:
        print_json(package.to_dict())
    by = package.approval.by if package.approval else ""
    results(as_json).print(f"{package.name} is {package.status} (by {by}{f': {why}' if why else ''})")
    if package.status == "Approved":
        place = f"@{package.aliases[0]}" if package.aliases else f"/{package.version}"
        results(as_json).print(f"next  vizsla serve models:/{package.group}{place}")


@app.command()
def alias(
    version: str = _VERSION,
    name: str = typer.Argument(..., metavar="ALIAS", help="Such as champion."),
    as_json: bool = _JSON,
) -> None:
    """Let an alias mean a version: servers of GROUP@ALIAS go over to it."""
    from vizsla.cli.console import print_json, results
    from vizsla.workflow.registration import set_alias

    package = set_alias(version, name)
    if as_json:
        print_json(package.to_dict())
    results(as_json).print(f"{package.group}@{name} is {package.name}")


@app.command()
def compare(
    versions: list[str] = typer.Argument(..., help="GROUP/VERSION or GROUP@ALIAS, or GROUP for all of its versions."),
    as_json: bool = _JSON,
) -> None:
    """Compare versions: metrics and where they come from, side by side."""
    from vizsla.cli.console import print_json, results, titled_table
    from vizsla.workflow.registration import compare as compare_versions

    packages = compare_versions(versions)
    if as_json:
        print_json({"versions": [package.to_dict() for package in packages]})
        return
    table = titled_table("Versions", "", *(package.name for package in packages))
    columns = [dict(_lines({"status": p.status, "metrics": p.metrics, "lineage": p.lineage})) for p in packages]
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [str(column.get(name, "")) for column in columns]
        if name == "status" or name.startswith("metrics.") or len(set(values)) > 1:
            table.add_row(name, *values)
    results().print(table)


@app.command()
def export(
    model: str = typer.Argument(..., help="A job, a model's folder, or models:/GROUP@ALIAS."),
    to: str = typer.Option("onnx", help="onnx, openvino, int8, timm or sagemaker."),
    output: Path = typer.Option(..., help="The folder to write into."),
    pictures: str | None = typer.Option(None, help="Pictures that prove it. Default: test pictures of the job."),
    as_json: bool = _JSON,
) -> None:
    """Export a model: one ONNX file, eight bits, weights for timm, an archive for SageMaker; proven to say the same."""
    from vizsla.cli.console import print_json, results
    from vizsla.workflow.exports import export as export_model

    made = export_model(model, to, output, pictures=pictures)
    if as_json:
        print_json(made.to_dict())
    out = results(as_json)
    for file in made.files:
        out.print(f"wrote  {file}", soft_wrap=True)
    for name, value in made.facts.items():
        out.print(f"{name}  {value}", soft_wrap=True)
    parties = ", ".join(made.proof.parties)
    out.print(f"proof  {made.proof.pictures:,} pictures, largest difference {made.proof.largest:.1e} ({parties})")


@app.command()
def rm(versions: list[str] = typer.Argument(..., help="GROUP/VERSION"), as_json: bool = _JSON) -> None:
    """Take versions out of the registry, with their files; none where one has an alias."""
    from vizsla.cli.console import errors, print_json
    from vizsla.workflow.registration import remove

    removed = [package.name for package in remove(versions)]
    for name in removed:
        errors.print(f"removed {name}")
    if as_json:
        print_json({"removed": removed})
