"""What a script's loggers say is in its log, as on SageMaker, whatever the script sets up itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, metrics_of, run_to_end, source_of
from vizsla.jobs.executors.local import LocalExecutor

HANDLER = "logger.addHandler(logging.StreamHandler(sys.stdout)); "
CASES = {
    "no handler": ("logger.setLevel(logging.DEBUG)", "DEBUG:__main__:low\nINFO:__main__:loss=0.5\n"),
    "no level": ("pass", ""),
    "a handler of its own": (HANDLER + "logger.setLevel(logging.INFO)", "loss=0.5\n"),
    "the root's by basicConfig": (
        "logging.basicConfig(level=logging.INFO, format='[%(name)s] %(message)s')",
        "[__main__] loss=0.5\n",
    ),
    "none wanted": ("logger.addHandler(logging.NullHandler()); logger.setLevel(logging.INFO)", ""),
}


@pytest.mark.parametrize(("setup", "expected"), CASES.values(), ids=CASES)
def test_lines_of_loggers(executor: LocalExecutor, script_spec: MakeSpec, setup: str, expected: str) -> None:
    text = f"import logging, sys\nlogger = logging.getLogger(__name__)\n{setup}\n"
    text += "logger.debug('low'); logger.info('loss=0.5')"
    handle = executor.submit(script_spec(text), "logs")
    assert run_to_end(executor, handle)[0].status == "Completed"
    assert (handle.path / "logs.txt").read_text() == expected


def test_an_expression_that_was_published_for_sagemaker_finds_its_metric(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = "import logging; logger = logging.getLogger(__name__); logger.setLevel(10); logger.info('Test set: 0.25')"
    handle = executor.submit(script_spec(text, metrics={"loss": r"INFO:__main__:Test set: ([0-9.]+)"}), "metric")
    assert metrics_of(run_to_end(executor, handle)[1]) == [("loss", 0.25)]


def test_a_sitecustomize_of_the_code_or_of_the_environment_is_imported_too(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = script_spec("import sitecustomize; print(sitecustomize.MINE)")
    (source_of(spec) / "sitecustomize.py").write_text("MINE = 'mine'")
    handle = executor.submit(spec, "custom")
    run_to_end(executor, handle)
    assert (handle.path / "logs.txt").read_text() == "mine\n"
