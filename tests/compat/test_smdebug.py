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
        ("smdebug.rules.action", "Actions"),
        ("smdebug.rules.action.stop_training_action", "StopTrainingAction"),
        ("smdebug.rules.action.message_action", "MessageAction"),
        ("smdebug.rules.req_tensors", "RequiredTensors"),
        ("smdebug.trials", "LocalTrial S3Trial"),
        ("smdebug.core.utils", "is_s3 check_dir_exists match_inc flatten"),
        ("smdebug.core.tensor", "Tensor StepState"),
        ("smdebug.core.collection_manager", "CollectionManager"),
        ("smdebug.core.json_config", "create_hook_from_json_config collect_hook_config_params"),
        ("smdebug.core.reductions", "get_numpy_reduction get_reduction_tensor_name"),
        ("smdebug.core.reader", "FileReader"),
        ("smdebug.core.writer", "FileWriter"),
        ("smdebug.core.locations", "TensorLocation IndexFileLocationUtils"),
        ("smdebug.core.access_layer", "TSAccessFile has_training_ended training_has_ended check_dir_exists"),
        ("smdebug.analysis.utils", "no_refresh refresh"),
        ("smdebug.pytorch.utils", "get_reduction_of_data make_numpy_array"),
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


class Net(torch.nn.Module):  # type: ignore[name-defined, misc]
    """Its ReLU is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.relu = torch.nn.Linear(4, 5), torch.nn.Linear(5, 3), torch.nn.ReLU()

    def forward(self, x: object) -> object:
        return self.fc2(self.relu(self.relu(self.fc1(x))))


def one_step(model: object, loss: object = None) -> None:
    (loss or torch.nn.CrossEntropyLoss())(model(torch.randn(6, 4)), torch.tensor([0, 1, 2, 0, 1, 2])).backward()  # type: ignore[operator]


def test_names_and_values_of_all_tensors(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.Hook(out_dir=str(tmp_path / "tensors"), save_all=True)
    model, loss = Net(), torch.nn.CrossEntropyLoss()
    model.fc1.requires_grad_(False)
    hook.register_module(model)
    hook.register_loss(loss)
    hook.set_mode(smd.modes.TRAIN)
    optimizer = torch.optim.SGD(model.fc2.parameters(), 0.1)
    for _ in range(2):
        one_step(model, loss)
        optimizer.step()
    hook.close()
    trial = smd.create_trial(hook.out_dir)
    assert set(trial.tensor_names()) == {
        *(f"Net_{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")),
        *(f"gradient/Net_{name}" for name in ("fc2.weight", "fc2.bias")),
        *(f"{layer}_{kind}_0" for layer in ("fc1", "fc2", "Net") for kind in ("input", "output")),
        *(f"relu_{kind}_{i}" for kind in ("input", "output") for i in (0, 1)),
        *(f"CrossEntropyLoss_{name}" for name in ("input_0", "input_1", "output_0")),
    }
    assert trial.tensor("relu_output_1").value(1).shape == (6, 5)
    assert trial.tensor("CrossEntropyLoss_input_1").value(0).tolist() == [0, 1, 2, 0, 1, 2]
    assert trial.labels(0) == ["CrossEntropyLoss_input_1"]
    assert trial.tensor_names(collection="gradients") == ["gradient/Net_fc2.bias", "gradient/Net_fc2.weight"]
    assert trial.collection("of my own").tensor_names == set()
    assert {"all", "default", "weights", "biases", "gradients", "losses"} <= set(trial.collections())


def test_collections_and_reductions_of_a_document(smd: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    weights = {"save_interval": "2", "reductions": "min,abs_mean,l2_norm"}
    relus = {"include_regex": "relu_output", "save_interval": "1", "save_raw_tensor": "true", "reductions": "max"}
    config.write_text(
        json.dumps(
            {
                "CollectionConfigurations": [
                    {"CollectionName": "weights", "CollectionParameters": weights},
                    {"CollectionName": "relus", "CollectionParameters": relus},
                ]
            }
        )
    )
    hook = smd.Hook.create_from_json_file(str(config))
    assert smd.get_hook() is hook
    model = Net()
    hook.register_module(model)
    hook.set_mode(smd.modes.TRAIN)
    before = model.fc1.weight.detach().numpy()
    for _ in range(3):
        one_step(model)
    hook.close()
    trial = smd.create_trial(hook.out_dir)
    weight = trial.tensor("Net_fc1.weight")
    assert weight.steps(smd.modes.TRAIN) == [0, 2]
    assert weight.reduction_value(0, "mean", abs=True) == pytest.approx(abs(before).mean())
    assert set(weight.reduction_values(0)) >= {("min", False), ("mean", True), ("l2", False)}
    with pytest.raises(importlib.import_module("smdebug.exceptions").TensorUnavailableForStep, match="reduction_value"):
        weight.value(0)
    assert trial.tensor_names(collection="relus") == ["relu_output_0", "relu_output_1"]
    assert trial.tensor("relu_output_0").value(1).min() == 0
    assert trial.tensor("CrossEntropyLoss_output_0").steps() == [0, 1, 2], "nobody registered it"


def test_configurations_are_equal_as_their_json_is(smd: ModuleType) -> None:
    by_mode = smd.SaveConfig({smd.modes.TRAIN: smd.SaveConfigMode(save_interval=2)})
    assert [s for s in range(6) if by_mode.should_save_step(smd.modes.TRAIN, s)] == [0, 2, 4]
    grid = smd.SaveConfig(save_interval=5, start_step=7, end_step=21, save_steps=[3, 8])
    assert [s for s in range(30) if grid.should_save_step(smd.modes.EVAL, s)] == [3, 8, 10, 15, 20]
    assert smd.SaveConfig.from_json(grid.to_json()) == grid
    assert grid != by_mode
    reduction = smd.ReductionConfig(reductions=["min"], abs_norms=["l2"])
    assert smd.ReductionConfig.from_json(reduction.to_json()) == reduction
    collection = smd.Collection("mine", ["fc.*"], reduction_config=reduction, save_config=grid)
    assert smd.Collection.from_json(collection.to_json()) == collection


def test_a_module_chosen_by_itself(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.Hook(out_dir=str(tmp_path / "tensors"), include_collections=["mine"])
    model = Net()
    hook.register_module(model)
    hook.get_collection("mine").add_module_tensors(model.fc2, inputs=True, outputs=True)
    one_step(model)
    hook.close()
    trial = smd.create_trial(hook.out_dir)
    assert trial.tensor_names(collection="mine") == ["fc2_input_0", "fc2_output_0"]


def test_a_rule_that_names_what_it_needs(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.get_hook(create_if_not_exists=True)
    loss = torch.nn.MSELoss()
    hook.register_loss(loss)
    for value in (1.0, 4.0):
        loss(torch.tensor([value]), torch.tensor([0.0]))
    hook.close()
    rules = importlib.import_module("smdebug.rules")

    class Above(rules.Rule):  # type: ignore[name-defined, misc]
        def set_required_tensors(self, step: int) -> None:
            self.req_tensors.add("MSELoss_output_0", steps=[step])

        def invoke_at_step(self, step: int) -> bool:
            return any(t.value(step) > 10 for t in self.req_tensors.get())

    rule = Above(smd.create_trial(str(tmp_path)))
    rules.invoke_rule(rule)
    assert (rule.report["Datapoints"], rule.report["Violations"]) == (2, 1)


def test_steps_that_are_not_there(smd: ModuleType, tmp_path: Path) -> None:
    hook = smd.get_hook(create_if_not_exists=True)
    hook.save_scalar("x", 1.0)
    hook.flush()
    trial, exceptions = smd.create_trial(str(tmp_path)), importlib.import_module("smdebug.exceptions")
    with pytest.raises(exceptions.StepNotYetAvailable):
        trial.mode_step(5)
    hook.close()
    with pytest.raises(exceptions.StepUnavailable):
        trial.mode_step(5)
    assert trial.mode_modestep(0) == (smd.modes.GLOBAL, 0)
    assert trial.last_index_token == 1
