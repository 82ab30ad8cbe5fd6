"""The documents tell the truth about files, rooms and verbs."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import vizsla
from vizsla.cli.main import VERBS
from vizsla.jobs.states import _NEXT
from vizsla.serving.faults import FAULTS, RequestError, runtime_answer
from vizsla.serving.openapi import document

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def anchors(document: Path) -> set[str]:
    """The places in a document, named as GitHub names its headings."""
    text = document.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a name="([^"]+)">', text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, place in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", document.read_text("utf-8")):
        if not target.startswith("http"):
            linked = document.parent / target if target else document
            assert linked.exists(), f"{document.name} links to {target}"
            assert not place or place in anchors(linked), f"{document.name} links to {target}#{place}"


def test_the_python_guide_runs(folder_of_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    photos = folder_of_photos({"rose": 24, "tulip": 24})
    shutil.copy(photos / "rose" / "000.jpg", photos.parent / "rose.jpg")
    monkeypatch.chdir(photos.parent)
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    # The weights of the guide's backbone would have to be fetched.
    text = text.replace('backbone="mobilenetv2_100"', 'backbone="test_resnet", random_init=True')
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), {})


def test_the_python_guide_names_what_there_is() -> None:
    text = (ROOT / "docs" / "python.md").read_text("utf-8")
    for name in re.findall(r"^\| `(\w+)(?:\(|`)", text, re.MULTILINE):
        assert hasattr(vizsla, name), name
    errors = re.findall(r"`(\w+Error)`", text)
    assert all(issubclass(getattr(vizsla, name), vizsla.VizslaError) for name in errors)


def test_the_readme_names_every_verb_and_no_other() -> None:
    named = set(re.findall(r"^\| \[?`vizsla (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert named == set(VERBS)


def test_the_architecture_draws_every_room_and_no_other() -> None:
    drawn = set(re.findall(r"\b(\w+)/  +", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    built = {path.name for path in Path(vizsla.__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert drawn == built


def section(document: str, title: str) -> str:
    """What stands between a heading and the next one."""
    text = (ROOT / "docs" / document).read_text("utf-8")
    (found,) = re.findall(rf"^(?:#+ {re.escape(title)}\n)(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads' lines."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def options(verb: str, *nested: str) -> set[str]:
    """What ``--help`` of a verb names, ``--help`` itself aside."""
    command: Any = typer.main.get_command(importlib.import_module(f"vizsla.cli.{verb}").app)
    for name in nested or ("run",) * (verb == "tune"):
        command = command.commands[name]
    found = [option for option in command.params if option.param_type_name == "option"]
    return {name for option in found for name in (*option.opts, *option.secondary_opts)} - {"--help"}


@pytest.mark.parametrize(
    ("document", "verb"),
    [
        ("debug.md", "debug"),
        ("profile.md", "profile"),
        ("serving.md", "serve"),
        ("jobs.md", "train"),
        ("tune.md", "tune"),
        ("fit.md", "fit"),
        ("data.md", "check"),
        ("evaluate.md", "evaluate"),
        ("explain.md", "explain"),
        ("bias.md", "bias"),
        ("transform.md", "transform"),
    ],
)
def test_the_table_of_options_is_that_of_the_help(document: str, verb: str) -> None:
    named = {name for row in rows(section(document, "Options")) for name in re.findall(r"`(--[\w-]+)`", row[0])}
    assert named == options(verb)


def test_the_table_of_rules_is_that_of_the_debugger() -> None:
    from vizsla.debugging.rules import NAMES

    named = [re.findall(r"`(\w+)`", row[0]) for row in rows(section("debug.md", "Rules"))[1:]]
    assert [name for (name,) in named] == list(NAMES)


def test_the_table_of_rules_is_that_of_the_profiler() -> None:
    from dataclasses import fields

    from vizsla.profiling.rules import RULES

    table = {re.findall(r"`(\w+)`", row[0])[0]: row[1] for row in rows(section("profile.md", "Rules"))[1:]}
    assert set(table) == {kind.title() for kind in RULES}
    for kind in RULES:
        parameters = ", ".join(f"`{f.name}={f.default:g}`" for f in fields(kind))
        assert table[kind.title()] == (parameters or "none"), kind.title()


def test_the_guide_of_the_profiler_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from commandline import vizsla as command

    pytest.importorskip("torch")
    script, reading, readers = examples("profile.md")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(script)
    done = command("train", "--script", "train.py", "--name", "flowers", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report " in command("profile", "flowers").stdout
    monkeypatch.syspath_prepend(str(ROOT / "vizsla" / "compat"))
    names: dict[str, Any] = {}
    exec(reading, names)
    assert len(names["profile"].steps()) == 64
    exec(readers, names)
    assert (names["framework"]["framework_metric"] == "Step:ModeKeys.TRAIN").sum() == 64


def test_the_loop_and_the_reading_of_the_debugger_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from vizsla.debugging import Hook, del_hook, set_hook

    monkeypatch.delenv("VIZSLA_JOB_DIR", raising=False)
    loop, reading, rule = examples("debug.md")
    hook = Hook(tmp_path / "debug")
    set_hook(hook)
    exec(loop, {})
    hook.close()
    del_hook()
    names: dict[str, Any] = {}
    exec(reading.replace('"runs/flowers"', repr(str(tmp_path / "debug"))), names)
    assert len(names["values"]) == 60
    assert min(names["sizes"]) > 0
    exec(rule, names)
    assert not any(names["LossAboveTen"](names["trial"]).invoke(step) for step in names["trial"].steps())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_shown_has_its_options(document: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    shown = "\n".join(text for language, text in blocks if language in ("", "console")).replace("\\\n", " ")
    for verb, rest in re.findall(r"^(?:\$ |\w+=\S+ )*vizsla (\w+) (.*)", shown, re.MULTILINE):
        words = rest.partition("  #")[0].split()
        nested = (
            words[:1] if verb in ("jobs", "models", "endpoints") or words[0] in ("show", "resume", "export") else []
        )
        used = {word for word in words if re.fullmatch(r"--[a-z-]+", word)}
        assert used <= options(verb, *nested), rest


def test_the_table_of_routes_is_that_of_the_server() -> None:
    named = set(re.findall(r"`([A-Z]+) (/[^`]*)`", section("serving.md", "Routes")))
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert named == described | {("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json")}


def test_the_table_of_errors_is_that_of_the_server() -> None:
    told = {}
    for status, codes, shape in rows(section("serving.md", "Errors"))[1:]:
        name, _, runtime = shape.partition(", ")
        for kind in re.findall(r"`([a-z-]+)`", codes):
            told[kind] = (status.partition(" ")[0], name.strip("`"), runtime)
    known = {}
    for kind, fault in FAULTS.items():
        error = RequestError(kind, "")
        known[kind] = (str(fault.status), fault.runtime, str(runtime_answer(error, "")[0]))
    assert told == known


def test_the_table_of_states_is_that_of_the_jobs() -> None:
    told = {
        row[0].strip("`"): set(re.findall(r"`([A-Z]\w+)`", row[2])) for row in rows(section("jobs.md", "States"))[1:]
    }
    assert told == {status: set(following) for status, following in _NEXT.items()}


def test_the_script_of_the_jobs_guide_trains(
    folder_of_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(tmp_path / "runs"))
    photos = folder_of_photos({"rose": 4, "tulip": 4})
    script, functions, _, call = examples("jobs.md")
    source = tmp_path / "src"
    source.mkdir()
    (source / "colours.py").write_text(script)
    (source / "inference.py").write_text(functions)
    names: dict[str, Any] = {}
    call = call.replace('"photos"', repr(str(photos))).replace('"src"', repr(str(source)))
    exec(call.replace("    metrics=", '    executor="debug",\n    metrics='), names)
    assert names["result"].metrics["accuracy"] > 0
    monkeypatch.syspath_prepend(str(source))
    answer: dict[str, Any] = {}
    exec(functions, answer)
    picture = answer["input_fn"]((photos / "rose" / "000.jpg").read_bytes(), "image/jpeg")
    label = answer["predict_fn"](picture, answer["model_fn"](names["result"].model))
    assert json.loads(answer["output_fn"](label, "application/json"))["flower"] in ("rose", "tulip")


def examples(document: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_callback_of_the_example_stops_a_training_that_spikes() -> None:
    import math

    from vizsla.training.callbacks import Callback
    from vizsla.training.trained import EpochMetrics, Stop

    (code,) = [code for code in examples("extending.md") if "class LossSpike" in code]
    names = {"math": math, "Callback": Callback, "Stop": Stop}
    exec(code, names)
    spike = names["LossSpike"]()
    answers = [spike.on_epoch(EpochMetrics(i, loss, 0.0, 0.0), 3) for i, loss in enumerate([1.0, 0.5, 2.0], 1)]
    assert answers == [None, None, Stop("loss-spike", "the loss rose to 2")]


def test_the_rule_of_the_example_speaks() -> None:
    from dataclasses import dataclass
    from typing import ClassVar

    from vizsla.debugging.history import History
    from vizsla.debugging.rules.base import BuiltIn
    from vizsla.debugging.store import Row

    (code,) = [code for code in examples("extending.md") if "class HighLoss" in code]
    names: dict[str, Any] = {"dataclass": dataclass, "ClassVar": ClassVar, "BuiltIn": BuiltIn}
    exec(code, names)
    history = History({"classes": 10, "loss": {"name": "CrossEntropyLoss"}})
    rule = names["RULE"].of({"times": "3"})
    found = []
    for step, loss in enumerate([2.3, 30.0]):
        numbers = (loss, loss, loss, 0.0, loss, loss, 0.0)
        history.add(step, [Row(step, "TRAIN", step, "worker_0", "loss", "losses", 0.0, 1, *numbers, "", True, False)])
        found += list(rule.look(history))
    assert [(finding.rule, finding.step) for finding in found] == [("high_loss", 1)]


def test_the_check_of_the_example_finds_square_pictures(folder_of_photos, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from vizsla.data.checks import Facts, Finding
    from vizsla.workflow.gate import DataRequest, check_data

    (code,) = [code for code in examples("extending.md") if "def square" in code]
    names = {"np": np, "Facts": Facts, "Finding": Finding}
    exec(code, names)
    root = folder_of_photos()
    image = Image.effect_noise((200, 200), 80).convert("RGB")
    image.save(root / "red" / "square.png")
    finding = names["square"](check_data(DataRequest(str(root))).gated.facts)
    assert [file.path for file in finding.files if "square" in file.path] == ["red/square.png"]


def test_the_executor_and_the_kind_of_the_examples_make_a_job(tmp_path: Path) -> None:
    from vizsla.jobs.directory import JobDirectory
    from vizsla.jobs.executors.base import Executor
    from vizsla.jobs.kinds.base import Kind
    from vizsla.jobs.spec import AlgorithmSpecification, Channel, TrainingJobSpec

    names = {"Executor": Executor, "Kind": Kind, "Path": Path, "AlgorithmSpecification": AlgorithmSpecification}
    names |= {"Channel": Channel, "TrainingJobSpec": TrainingJobSpec}
    for code in examples("extending.md"):
        if "EXECUTOR =" in code or "KIND =" in code:
            exec(code, names)
    executor, document = names["EXECUTOR"](tmp_path / "runs"), {"TransformInput": str(tmp_path)}
    handle = executor.submit(names["KIND"].spec(document), "flowers", kind="transform", document=document)
    job = JobDirectory.open(handle.path)
    assert (job.executor, job.kind, job.document) == ("mine", "transform", document)
    assert executor.state(handle).status == "Pending", "the example never has room"
    executor.stop(handle)
    assert executor.state(handle).status == "Stopped"
