"""The surface of smdebug that scripts call: all there, harmless, and recorded."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vizsla.debugging import del_hook, get_hook
from vizsla.jobs import inside
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.script import COMPATIBILITY

torch = pytest.importorskip("torch")


@pytest.fixture
def smd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """``smdebug.pytorch`` as a job has it."""
    config = tmp_path / "debughookconfig.json"
    config.write_text(json.dumps({"HookParameters": {"train.save_interval": "2", "eval.save_interval": "1"}}))
    monkeypatch.setenv("SMDEBUG_CONFIG_FILE_PATH", str(config))
    monkeypatch.setenv("VIZSLA_JOB_DIR", str(tmp_path))
    monkeypatch.setattr(inside, "_writer", None)  # of the job of the test before
    monkeypatch.syspath_prepend(str(COMPATIBILITY))
    yield importlib.import_module("smdebug.pytorch")
    if (hook := get_hook()) is not None:
        hook.close()
    del_hook()
    for name in [name for name in sys.modules if name.split(".")[0] == "smdebug"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("smdebug", "modes SaveConfig SaveConfigMode ReductionConfig CollectionKeys"),
        (
            "smdebug.pytorch",
            "Hook get_hook set_hook del_hook modes SaveConfig SaveConfigMode ReductionConfig Collection CollectionKeys "
            "create_trial",
        ),
        ("smdebug.pytorch.collection", "Collection CollectionKeys"),
        ("smdebug.core.logger", "get_logger"),
        ("smdebug.core.config_constants", "DEFAULT_COLLECTIONS_FILE_NAME CONFIG_FILE_PATH_ENV_STR"),
        ("smdebug.trials.local_trial", "LocalTrial"),
        ("smdebug.core.modes", "ModeKeys"),
        ("smdebug.core.collection", "Collection CollectionKeys"),
        ("smdebug.core.save_config", "SaveConfig SaveConfigMode"),
        ("smdebug.core.reduction_config", "ReductionConfig"),
        ("smdebug.trials", "create_trial no_refresh refresh"),
        ("smdebug.trials.utils", "create_trial"),
        ("smdebug.rules", "Rule invoke_rule"),
        ("smdebug.rules.rule", "Rule"),
        ("smdebug.rules.rule_invoker", "invoke_rule"),
        ("smdebug.profiler.utils", "str2bool"),
        (
            "smdebug.exceptions",
            "TensorUnavailableForStep TensorUnavailable StepUnavailable StepNotYetAvailable NoMoreData "
            "MissingCollectionFiles RuleEvaluationConditionMet InvalidWorker IndexReaderException",
        ),
    ],
)
def test_names_that_scripts_import(smd: ModuleType, module: str, names: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in names.split() if not hasattr(found, name)] == []


def test_outside_a_job_it_is_found_where_no_other_smdebug_is() -> None:
    spec = importlib.util.find_spec("smdebug")
    if spec is not None:  # an editable install has it, as a wheel does (tests/jobs/test_installed.py)
        assert spec.origin is not None
        assert Path(spec.origin).parts[-4:] == ("vizsla", "compat", "smdebug", "__init__.py")


def test_steps_modes_and_intervals(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.get_hook(create_if_not_exists=True)
    assert hook is smd.get_hook()
    assert not hook.has_default_hook_configuration()
    model, loss = torch.nn.Linear(3, 2), torch.nn.CrossEntropyLoss()
    hook.register_hook(model)
    hook.register_loss(loss)
    hook.register_loss(loss)
    values: dict[str, list[float]] = {"TRAIN": [], "EVAL": []}
    for mode, count in (("TRAIN", 5), ("EVAL", 2), ("TRAIN", 1)):
        hook.set_mode(smd.modes[mode])
        for _ in range(count):
            values[mode].append(loss(model(torch.randn(4, 3)), torch.tensor([0, 1, 1, 0])).item())
    hook.save_scalar("lr", 0.5, sm_metric=True)
    hook.close()
    trial = smd.create_trial(str(tmp_path))
    assert trial.tensor_names() == ["CrossEntropyLoss_output_0", "scalar/lr"]
    assert [mode.name for mode in trial.modes()] == ["TRAIN", "EVAL"]
    assert trial.steps() == [0, 2, 4, 5, 6, 7], "the last is that of the scalar, which is saved whatever the interval"
    tensor = trial.tensor("CrossEntropyLoss_output_0")
    assert tensor.steps(smd.modes.TRAIN) == [0, 2, 4]
    assert tensor.steps(smd.modes.EVAL) == [0, 1]
    assert float(tensor.value(2, smd.modes.TRAIN)) == pytest.approx(values["TRAIN"][2])
    assert float(tensor.reduction_value(2, "max", smd.modes.TRAIN, abs=True)) == pytest.approx(values["TRAIN"][2])
    assert trial.global_step(smd.modes.EVAL, 1) == 6
    assert trial.mode(6) is smd.modes.EVAL
    assert tensor.prev_steps(4, 2, smd.modes.TRAIN) == [2, 4]
    exceptions = importlib.import_module("smdebug.exceptions")
    with pytest.raises(exceptions.TensorUnavailableForStep):
        tensor.value(1, smd.modes.TRAIN)
    with pytest.raises(exceptions.TensorUnavailable):
        trial.tensor("nothing")
    with pytest.raises(exceptions.NoMoreData):
        trial.wait_for_steps([99])
    assert "lr" in (tmp_path / "metrics.jsonl").read_text()


def test_values_are_recorded_as_they_were_once_each_whatever_they_are(smd: ModuleType, tmp_path: Path) -> None:
    class Smooth(torch.nn.CrossEntropyLoss):  # type: ignore[name-defined, misc]
        pass

    hook = smd.get_hook(create_if_not_exists=True)
    model, losses = torch.nn.Linear(3, 2), (torch.nn.CrossEntropyLoss(), Smooth())
    hook.register_module(model)
    for loss in losses:
        hook.register_loss(loss)
    hook.set_mode(smd.modes.TRAIN)
    running, true = torch.zeros(()), []
    for step in range(5):
        output = model(torch.randn(4, 3))
        for loss in losses:
            loss(output, torch.tensor([0, 1, 1, 0]))
        running += step + 1  # in place: the hook must not keep the tensor itself
        hook.save_tensor("running", running)
        hook.save_tensor("array", np.array([step, step + 2]))
        true.append(float(running))
    hook.close()
    trial = smd.create_trial(str(tmp_path))
    for name in ("CrossEntropyLoss_output_0", "Smooth_output_0"):
        assert trial.tensor(name).steps(smd.modes.TRAIN) == [0, 2, 4]
    assert [float(v) for v in trial.tensor("running").values().values()] == [true[s] for s in (0, 2, 4)]
    assert [v.tolist() for v in trial.tensor("array").values().values()] == [[0, 2], [2, 4], [4, 6]]


def test_nobody_waits_for_the_steps_of_a_killed_job(smd: ModuleType, tmp_path: Path) -> None:
    job = JobDirectory.create("train", "killed", {}, tmp_path)
    job.set_state("InProgress")
    (job.output / "debug").mkdir(exist_ok=True)
    trial = smd.create_trial(str(job.output / "debug"))
    assert not trial.loaded_all_steps
    job.set_state("Failed", "its process was killed")
    assert trial.loaded_all_steps
    with pytest.raises(importlib.import_module("smdebug.exceptions").NoMoreData):
        trial.wait_for_steps([99])


def test_an_error_within_the_hook_never_reaches_the_loop(
    smd: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = smd.get_hook(create_if_not_exists=True)
    (tmp_path / "output").write_text("a file where the folder should be")
    hook.save_scalar("x", 1.0)
    hook.set_mode(smd.modes.EVAL)
    hook.save_scalar("x", "not a number")
    hook.close()
    assert hook.off
    assert "the debugger's hook is off: " in capsys.readouterr().err


def test_outside_a_job_there_is_no_hook(smd: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smd.del_hook()
    monkeypatch.setenv("SMDEBUG_CONFIG_FILE_PATH", str(tmp_path / "nowhere.json"))
    assert smd.get_hook(create_if_not_exists=True) is None
    with pytest.raises(FileNotFoundError):
        smd.Hook.create_from_json_file()


def test_a_rule_over_a_finished_trial(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.get_hook(create_if_not_exists=True)
    hook.set_mode(smd.modes.EVAL)
    loss = torch.nn.MSELoss()
    hook.register_loss(loss)
    for value in (1.0, 2.0, 30.0):
        loss(torch.tensor([value]), torch.tensor([0.0]))
    hook.close()
    rules = importlib.import_module("smdebug.rules")

    class TooHigh(rules.Rule):  # type: ignore[name-defined, misc]
        def __init__(self, base_trial: object, threshold: str = "10") -> None:
            super().__init__(base_trial, other_trials=None)
            self.threshold = float(threshold)

        def invoke_at_step(self, step: int) -> bool:
            names = self.base_trial.tensor_names(collection="losses")
            return any(self.base_trial.tensor(name).value(step) > self.threshold for name in names)

    rule = TooHigh(smd.create_trial(str(tmp_path)))
    rules.invoke_rule(rule)
    assert (rule.report["Datapoints"], rule.report["Violations"]) == (3, 1)
    with pytest.raises(importlib.import_module("smdebug.exceptions").RuleEvaluationConditionMet, match="step 2"):
        rules.invoke_rule(TooHigh(smd.create_trial(str(tmp_path))), raise_eval_cond=True)
