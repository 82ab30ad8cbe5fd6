"""Hyperparameters reach a script as they were given, and as SageMaker's SDK and toolkit would have given them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import commandline
import pytest

import vizsla
from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.errors import UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.hyperparameters import decoded, encoded
from vizsla.jobs.script import arguments
from vizsla.jobs.spec import TrainingJobSpec

# What `mapping.to_cmd_args` of sagemaker-training 5.1.4 gives of the values that sagemaker 2.257 writes by json.dumps.
AS_THE_TOOLKIT: list[tuple[Any, str]] = [
    *((text, text) for text in ("true", "False", "null", "None", "007", "1e3", "1e-3", "0.10", "NaN", "nan", "-0")),
    *((text, text) for text in ("Infinity", "64", '{"a": 1}', "[1,2]", '["a"]', '"quoted"', "", "a  b ", "é", "[b]")),
    (True, "True"),
    (False, "False"),
    (None, ""),
    (3, "3"),
    (0.001, "0.001"),
    (1e-05, "1e-05"),
    (1e22, "1e+22"),
    (math.nan, "nan"),
    (-math.inf, "-inf"),
    ([64, 32], "[64, 32]"),
    (["a", "b"], "['a', 'b']"),
    ([True, None], "[True, None]"),
    ({}, ""),
    ({"b": 2, "a": "x"}, "a=x,b=2"),
    ({"a": None, "b": [1]}, "a=None,b=[1]"),
]
# What it gives of documents that another program has written. A number keeps its spelling: the toolkit says 1000.0.
DOCUMENTS = [("true", "True"), ("null", ""), ("007", "007"), ("1e3", "1e3"), ("NaN", "nan"), ('"16"', "16")]
DOCUMENTS += [('"true"', "true"), ("[1,2]", "[1, 2]"), ('["a"]', "['a']"), ('{"a":1}', "a=1"), ('"', '"'), ("", "")]


@pytest.mark.parametrize(("value", "argument"), AS_THE_TOOLKIT, ids=repr)
def test_values_become_the_arguments_that_the_toolkit_makes(value: Any, argument: str) -> None:
    assert arguments(encoded({"x": value})) == ["-x", argument]


@pytest.mark.parametrize(("text", "argument"), DOCUMENTS)
def test_documents_become_the_arguments_that_the_toolkit_makes(text: str, argument: str) -> None:
    assert arguments({"name": text}) == ["--name", argument]


@pytest.mark.parametrize("name", ["--lr", "-x"])
def test_a_name_with_the_hyphens_of_its_argument(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        encoded({name: 1})
    assert caught.value.what == f"The name of hyperparameter '{name}' begins with a hyphen."
    assert caught.value.allowed == f"the name alone, '{name.lstrip('-')}': a script gets it with its hyphens"


def test_text_is_text_and_a_number_is_one_when_they_are_read_back() -> None:
    assert decoded(encoded({"a": "true", "b": "null", "c": "007", "d": "{}", "e": "1e-3", "f": "NaN"})) == {
        "a": "true",
        "b": "null",
        "c": "007",
        "d": "{}",
        "e": 0.001,
        "f": "NaN",
    }


ECHO = "import json, os, sys; print('SAID', json.dumps([sys.argv[1:], os.environ['SM_HP_X'], os.environ['SM_HPS']]))"


def said(log: str) -> tuple[list[str], str, Any]:
    """Arguments, SM_HP_X and SM_HPS that the script has told."""
    argv, variable, everything = json.loads(log.split("SAID ")[1].splitlines()[0])
    return argv, variable, json.loads(everything)


@pytest.mark.parametrize("text", ["true", "null", "007", "1e3", "NaN", '{"a": 1}', "[1]"])
def test_the_same_text_by_every_door(text: str, tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    parts: list[str] = []
    vizsla.train(script, hyperparameters={"x": text}, on_log=parts.append)
    logs = ["".join(parts)]
    job = next((tmp_path / "runs").glob("train-echo-*"))
    again = tmp_path / "again.json"
    again.write_text(json.dumps(json.loads((job / "job.json").read_text())["document"]))
    commands = [
        ["--script", str(script), "--hp", f"x={text}"],
        ["--script", str(script), "--hp", json.dumps({"x": text})],
        ["--request", str(again)],
    ]
    for words in commands:
        logs.append(commandline.vizsla("train", *words).stderr)
    for log in logs:
        argv, variable, everything = said(log)
        assert (argv, variable) == (["-x", text], text)
        assert everything["x"] == (1000.0 if text == "1e3" else text)


def test_what_is_no_text_is_in_variables_as_the_toolkit_has_it(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    for value, variable in ((None, ""), ({"b": [1, 2], "a": True}, '{"a":true,"b":[1,2]}'), (1e-05, "1e-05")):
        handle = executor.submit(script_spec(ECHO, {"x": value}), "variables")
        run_to_end(executor, handle)
        assert said((handle.path / "logs.txt").read_text())[1] == variable


def test_a_value_that_cannot_be_written_down() -> None:
    with pytest.raises(UsageError, match=r"Hyperparameter 'data' cannot be written down: PosixPath\('x'\)") as caught:
        vizsla.train("echo.py", source_dir=".", hyperparameters={"data": Path("x")})
    assert caught.value.where == "hyperparameters['data']"
    assert "give str(...)" in str(caught.value.do)


def test_a_resumed_job_is_given_the_same(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = ECHO + "\nimport pathlib\nmark = pathlib.Path(os.environ['SM_CHECKPOINT_DIR'], 'x')\n"
    text += "first = not mark.exists(); mark.touch(); sys.exit(first)"
    handle = executor.submit(script_spec(text, {"x": "true"}), "resumed")
    assert run_to_end(executor, handle)[0].status == "Failed"
    assert run_to_end(executor, executor.resume(handle))[0].status == "Completed"
    assert (handle.path / "logs.txt").read_text().count('["-x", "true"]') == 2
    assert TrainingJobSpec.read(JobDirectory(handle.path).document).user_hyper_parameters == {"x": "true"}
