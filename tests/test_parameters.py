"""Lower rooms name parameters; the door that is used spells them."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import vizsla
from vizsla.cli.hyperparameters import ASSIGNMENTS
from vizsla.cli.main import VERBS
from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import UsageError
from vizsla.parameters import COMMAND, DOCUMENT, PYTHON, door, speaking, spelled
from vizsla.training.fine_tuning.config import HYPERPARAMETERS
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.request import SearchRequest
from vizsla.workflow.explain import ExplainRequest

ROOT = Path(vizsla.__file__).parent
LOWER = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in ("cli", "parameters.py")]

OTHER_PROGRAMS = {
    "cluster.py": ["--address", "--head", "--object-store-memory"],  # of ray
    "jobs/environment.py": ["--constraint", "--editable", "--requirement"],  # of pip
    "jobs/installation.py": ["--disable-pip-version-check", "--no-input"],
    "jobs/own_package.py": ["--no-build-isolation"],
    "jobs/tracking.py": [
        "--backend-store-uri",
        "--default-artifact-root",
        "--host",
        "--port",
        "--workers",
    ],  # of mlflow
    "jobs/conformance/suite.py": ["--lr"],  # of a script
    "training/fine_tuning/torchrun.py": ["--local-addr", "--module", "--nproc-per-node", "--standalone"],  # of torchrun
    "reports/pdf.py": [
        "--disable-gpu",
        "--headless",
        "--no-pdf-header-footer",
        "--no-sandbox",
        "--print-to-pdf",
        "--user-data-dir",
    ],  # of a browser
}
"""Options that are no words for anybody: arguments of other programs."""

_COMMAND = re.compile(r"`vizsla [^`]*`|^vizsla [a-z].*", re.DOTALL)
"""A command to type may have its options, where it is named: in backticks, or as a text of its own."""
_OPTION = re.compile(r"(?<![\w(<!-])--[a-z][a-z-]*")


def texts(path: Path) -> Iterator[str]:
    """The texts of a file that are no docstrings; ``{}`` stands for what is filled in."""
    tree = ast.parse(path.read_text("utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def test_no_room_below_the_doors_spells_an_option() -> None:
    found = {}
    for path in LOWER:
        options = {option for text in texts(path) for option in _OPTION.findall(_COMMAND.sub("", text))}
        if options:
            found[path.relative_to(ROOT).as_posix()] = sorted(options)
    assert found == OTHER_PROGRAMS, "name the parameter: spelled(...) or parameter=..., of vizsla.parameters"


def named(tree: ast.AST) -> Iterator[str]:
    """The parameters that a file names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "spelled" and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
            for keyword in node.keywords:
                is_error = isinstance(node.func, ast.Name) and node.func.id.endswith("Error")
                if is_error and keyword.arg == "parameter" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)


NAMED = sorted({name for path in LOWER for name in named(ast.parse(path.read_text("utf-8")))})


def options() -> set[str]:
    """Every option of every verb."""

    def of(command: object) -> set[str]:
        own = {option for parameter in getattr(command, "params", ()) for option in parameter.opts}
        return own.union(*(of(inner) for inner in getattr(command, "commands", {}).values()))

    return set().union(*(of(typer.main.get_command(importlib.import_module(f"vizsla.cli.{v}").app)) for v in VERBS))


COMMAND_ALONE = (
    "accept advise apply batch_strategy change dry_run group pictures replicas request set split_type to variant weight"
).split()
"""Of verbs that only the command line has: transform, models, endpoints, profile, aws."""


def test_every_parameter_that_is_named_can_be_given_through_every_door() -> None:
    verbs = (vizsla.fit, vizsla.check, vizsla.train, vizsla.tune, vizsla.serve, vizsla.evaluate, vizsla.bias)
    configurations = (SourceOptions, GateOptions, SearchRequest, SearchLimits, ExplainRequest)
    python = {name for verb in verbs for name in inspect.signature(verb).parameters} | set(HYPERPARAMETERS)
    python |= {field.name for configuration in configurations for field in dataclasses.fields(configuration)}
    assert len(NAMED) > 30
    assert sorted(set(NAMED) - python) == COMMAND_ALONE
    there = options()
    for name in {*NAMED, *HYPERPARAMETERS}:
        for option in COMMAND.spell(name).split(" or "):
            assert option in there, f"{name} is no option of a verb"


@pytest.mark.parametrize(
    ("parameter", "value", "python", "command", "document"),
    [
        ("on_leak", "warn", "on_leak='warn'", "--on-leak warn", "the hyperparameter on-leak=warn"),
        ("on_leak", None, "on_leak", "--on-leak", "the hyperparameter on-leak"),
        ("near_copies", 24, "near_copies=24", "--near-copies 24", "the hyperparameter near-copies=24"),
        ("random_init", True, "random_init=True", "--random-init", "the hyperparameter random-init=true"),
        ("weights", None, "weights", "--weights", "the channel weights"),
        ("max_parallel", 2, "max_parallel=2", "--max-parallel-jobs 2", "the hyperparameter max-parallel=2"),
        (
            "drop_classes",
            ("lily", "sea rose"),
            "drop_classes=('lily', 'sea rose')",
            "--drop-class lily --drop-class 'sea rose'",
            'the hyperparameter drop-classes=["lily", "sea rose"]',
        ),
        (
            "metrics",
            {"test acc": "REGEX"},
            "metrics={'test acc': 'REGEX'}",
            "--metric 'test acc=REGEX'",
            'the hyperparameter metrics={"test acc": "REGEX"}',
        ),
        ("direction", "minimize", "direction='minimize'", "--minimize", "the hyperparameter direction=minimize"),
    ],
)
def test_how_doors_spell(parameter: str, value: object, python: str, command: str, document: str) -> None:
    assert [one.spell(parameter, value) for one in (PYTHON, COMMAND, DOCUMENT)] == [python, command, document]
    assert spelled(parameter, value) == python


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("lr", None, "lr="), ("batch_size", 32, "batch-size=32"), ("nesterov", True, "nesterov=true")],
)
def test_a_search_takes_hyperparameters_as_assignments(name: str, value: object, words: str) -> None:
    assert ASSIGNMENTS.spell(name, value) == words
    assert ASSIGNMENTS.spell("trials", 20) == "--trials 20"


def test_a_door_is_spoken_of_in_its_block_and_thread_alone() -> None:
    heard: list[str] = []
    with speaking(COMMAND):
        with speaking(door().but(endpoint_url="AWS_ENDPOINT_URL_S3", again="wait")):
            assert (spelled("endpoint_url"), spelled("host"), door().again) == ("AWS_ENDPOINT_URL_S3", "--host", "wait")
        assert (spelled("endpoint_url"), door().again) == ("--endpoint-url", "run the command again")
        thread = threading.Thread(target=lambda: heard.append(spelled("host")))
        thread.start()
        thread.join()
    assert [spelled("host"), *heard] == ["host", "host"]


def test_an_error_tells_its_parameter_by_name_and_where_it_was_given() -> None:
    for used, where in ((PYTHON, "parameter layout"), (COMMAND, "--layout"), (DOCUMENT, "the hyperparameter layout")):
        with speaking(used):
            error = UsageError("There is no such layout.", parameter="layout", do="look")
        assert error.parameter == "layout"
        assert str(error) == f"There is no such layout.\n  where: {where}\n  do: look"
    elsewhere = UsageError("There is no such column.", parameter="label_column", where="label_column, t.csv")
    assert (elsewhere.parameter, elsewhere.where) == ("label_column", "label_column, t.csv")
    assert UsageError("x", where="here").parameter is None
