"""Registering a model, and what is done with it then: approved, compared, given an alias, removed."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vizsla.batch.inputs import open_inputs
from vizsla.errors import JobError, ModelError, UsageError, VizslaError
from vizsla.files import sha256_file
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.handover import load as load_json
from vizsla.jobs.tracking import NOTE
from vizsla.models import artifact
from vizsla.parameters import spelled
from vizsla.registry import files, reading
from vizsla.registry.mlflow_store import MlflowStore
from vizsla.registry.package import (
    APPROVED,
    REJECTED,
    Approval,
    ModelPackage,
    Reference,
    Status,
    check_group,
    local_folder,
)
from vizsla.registry.place import registry_folder, registry_uri
from vizsla.registry.tags import facts_tag
from vizsla.serving.entry import has_code, is_of_job, model_and_code
from vizsla.version import VERSION
from vizsla.workflow.document import from_job
from vizsla.workflow.gate import manifest_of
from vizsla.workflow.models import locate_model
from vizsla.workflow.parity import PICTURES, HeldOut, Proof, held_out, prove

_METRICS = "n accuracy accuracy_interval balanced_accuracy macro_f1 macro_f1_interval top5 loss ece".split()
"""What of an evaluation is kept with a version."""


@dataclass(frozen=True)
class Registration:
    """A registered version, and the proof that it passed."""

    package: ModelPackage
    proof: Proof


def register(
    model: str,
    group: str,
    *,
    pictures: str | None = None,
    description: str | None = None,
    allow_code: bool = False,
) -> Registration:
    """Register a model as the next version of a group, when it says the same wherever it is asked.

    Parameters
    ----------
    model:
        A job, a model's folder, or a ``model.tar.gz``.
    pictures:
        What proves it: pictures that training has not seen; by default test pictures of the job.
    allow_code:
        Whether a model's own code may run, for the proof.

    Raises
    ------
    ModelError
        When the model is damaged, or what it says differs.
    DataError
        When there is no picture to prove it with.
    UsageError
        When the group cannot be called so.
    """
    check_group(group)
    path = locate_model(model)
    job = job_of(path)
    own = model_and_code(path) if path.is_dir() else None
    brings_code = has_code(path)
    if brings_code and not allow_code:
        raise UsageError(
            "The model brings its own code, which the proof would run.",
            where=path,
            do=f"{spelled('allow_code', True)} if you trust this model",
        )
    uri = registry_uri()
    store = MlflowStore(uri)
    staging = files.stage(_folder(path, own), own[1] if own and own[1] != own[0] / "code" else None)
    try:
        staged = staging / files.MODEL
        saved = None if brings_code else artifact.load(staged)
        held = pictures_of(job, pictures)
        proof = prove(staged, held, has_code=brings_code, allow_code=allow_code).check()
        if saved is not None:
            files.write_flavor(staging, held[0].path.read_bytes())
        facts = {
            "metrics": _metrics(saved, job),
            "lineage": _lineage(saved, job, path),
            "proof": proof.to_dict(),
            "sha256": files.digest(staged),
        }
        run = _run_of(job, store)
        name = path.name if job is None else job.name
        version = files.enter(staging, store, group, name, facts_tag(**facts), run, description)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Registration(reading.find(Reference(group, version), uri), proof)


def job_of(path: Path) -> JobDirectory | None:
    """The job that left the model at ``path``, where it is here."""
    place = path.parent if is_of_job(path) else path
    if place.name == artifact.ARCHIVE and place.parent.name == "output":
        place = place.parent.parent
    return JobDirectory.open(place) if (place / "job.json").is_file() else None


def _folder(path: Path, own: tuple[Path, Path] | None) -> Path:
    """Where a model's files are: of a job the folder ``model``."""
    if own is not None:
        return own[0]
    if not path.is_dir() or (path / artifact.CARD).is_file():
        return path
    if (path / "job.json").is_file():
        job = JobDirectory.open(path)
        if not job.state.has_ended:
            raise JobError(f"Job {job.name!r} is {job.state.status}: its model is not finished.", where=path)
    return path / "model" if (path / "model").is_dir() else path


def pictures_of(job: JobDirectory | None, named: str | None) -> list[HeldOut]:
    """What a model is proven with: the pictures ``named``, by default test pictures of its job.

    Raises
    ------
    UsageError
        When neither is there.
    """
    if named is not None:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise UsageError("Pictures that prove a model lie in a folder.", parameter="pictures", where=folder)
        found = [HeldOut(folder / one.key) for one in open_inputs(str(folder)).each() if (folder / one.key).is_file()]
        step = max(1, len(found) // PICTURES)
        return found[::step][:PICTURES]
    if job is None:
        raise UsageError(
            "Nothing proves this model: it comes from no job that is here.",
            parameter="pictures",
            do=f"name a folder of pictures that training has not seen: {spelled('pictures', 'photos/test')}",
        )
    return held_out(job)


def _metrics(saved: artifact.SavedModel | None, job: JobDirectory | None) -> dict[str, Any]:
    if saved is not None:
        return {name: saved.card.metrics[name] for name in _METRICS if name in saved.card.metrics}
    if job is None:
        return {}
    from vizsla.jobs.metrics import last_metrics

    return {name: metric.value for name, metric in last_metrics(job.metrics).items()}


def _lineage(saved: artifact.SavedModel | None, job: JobDirectory | None, path: Path) -> dict[str, Any]:
    """Where the model comes from: data, job, search, code, what it began with."""
    facts: dict[str, Any] = {"model": str(path), "code": {"vizsla": VERSION}}
    if saved is not None:
        origin = saved.card.provenance
        facts |= {
            "dataset": origin.dataset,
            "dataset_sha256": origin.dataset_sha256,
            "seed": origin.seed,
            "hyperparameters": origin.hyperparameters,
            "code": origin.versions,
            "parent": f"{saved.card.backbone.name} ({saved.card.backbone.weights})",
            "backbone_sha256": saved.card.backbone.sha256,
        }
    if job is not None:
        facts |= {"job": job.name, "job_directory": str(job.path), "created": job.envelope.created}
        tuning = job.name if job.kind == "tune" else job.parent
        facts["tuning_job"] = tuning
        if (job.code).is_dir():
            facts["code"] |= {"script_sha256": files.digest(job.code)}
        with contextlib.suppress(VizslaError):
            request = from_job(job.document)
            manifest = manifest_of(request.data, request.source, job.path.parent)
            if manifest.is_file():
                facts |= {"manifest": str(manifest), "manifest_sha256": sha256_file(manifest)}
    return facts


def _run_of(job: JobDirectory | None, store: MlflowStore) -> str | None:
    """The job's run, where the registry knows it."""
    run = (load_json(job.run / NOTE) or {}).get("run") if job is not None else None
    return run if isinstance(run, str) and store.has_run(run) else None


def decide(reference: str, status: Status, why: str | None = None, *, alias: str | None = None) -> ModelPackage:
    """Approve or reject a version.

    Raises
    ------
    ModelError
        When there is none, or its files are not what was registered.
    """
    uri = registry_uri()
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    store = MlflowStore(uri)
    with files.one_writer():
        package = _version(reference, uri)
        if alias is not None:
            Reference.parse(f"{package.group}@{alias}")
        if status == APPROVED:
            _check_unchanged(package)
        store.approve(package, Approval(status, _person(), now, why))
        if alias is not None:
            store.set_alias(package, alias)
        if status == REJECTED:
            for name in package.aliases:
                store.delete_alias(package.group, name)
    return reading.find(Reference(package.group, package.version), uri)


def _version(reference: str, uri: str) -> ModelPackage:
    named = Reference.parse(reference)
    if named.version is None and named.alias is None:
        raise UsageError(f"{reference!r} names no version.", allowed="GROUP/VERSION or GROUP@ALIAS")
    return reading.find(named, uri)


def _check_unchanged(package: ModelPackage) -> None:
    folder = local_folder(package)
    if folder is None or package.sha256 is None:
        return
    model = files.model_folder(package)
    if files.digest(model) != package.sha256:
        raise ModelError(
            f"The files of {package.name} are not those that were registered and proven (their hash differs).",
            where=model,
            do="register the model again",
        )


def _person() -> str:
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return f"user {os.getuid()}"


def set_alias(reference: str, alias: str) -> ModelPackage:
    """Let an alias mean a version: whoever serves it goes over to that version.

    Raises
    ------
    ModelError
        When there is no such version, or it is not approved: whoever asks for an alias gets a model to use.
    UsageError
        When the alias cannot be called so.
    """
    uri = registry_uri()
    with files.one_writer():
        package = _version(reference, uri)
        Reference.parse(f"{package.group}@{alias}")
        if package.status != APPROVED:
            why = f": {package.approval.why}" if package.approval and package.approval.why else ""
            state = f"was rejected{why}" if package.status == REJECTED else f"is not approved ({package.status})"
            raise ModelError(
                f"{package.name} {state}.",
                where="the model registry",
                do=f"approve it first: `vizsla models approve {package.name} --alias {alias}`",
            )
        MlflowStore(uri).set_alias(package, alias)
    return reading.find(Reference(package.group, package.version), uri)


def remove(references: Sequence[str]) -> list[ModelPackage]:
    """Take versions out of the registry, with their files; none where one of the names is wrong or has an alias.

    Raises
    ------
    ModelError
        When there is none, or an alias still means it.
    """
    uri = registry_uri()
    store = MlflowStore(uri)
    with files.one_writer():
        packages = [_version(reference, uri) for reference in references]
        for package in packages:
            if package.aliases:
                raise ModelError(
                    f"{package.name} is {package.group}@{package.aliases[0]}: it may be served.",
                    do=f"`vizsla models alias OTHER {package.aliases[0]}` gives the alias to another version first",
                )
        for package in packages:
            store.delete(package)
            folder = local_folder(package)
            if folder is not None and registry_folder().resolve() in folder.resolve().parents:
                shutil.rmtree(folder, ignore_errors=True)
    return packages


def compare(references: Sequence[str]) -> list[ModelPackage]:
    """The versions named, or all of a group that is named alone.

    Raises
    ------
    ModelError
        When there is none.
    """
    found: list[ModelPackage] = []
    for reference in references:
        named = Reference.parse(reference)
        whole = reading.packages(named.group) if named.version is None and named.alias is None else []
        found += whole or [reading.find(named)]
    return found


def described(package: ModelPackage) -> dict[str, Any]:
    """Plain JSON, with whether its files are still what was registered."""
    try:
        _check_unchanged(package)
        changed = False
    except ModelError:
        changed = True
    return package.to_dict() | {"changed": changed}
