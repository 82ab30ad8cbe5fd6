"""The hook on a real PyTorch loop, and what is read of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.debugging import Hook, ReductionConfig, SaveConfig, create_trial, del_hook, get_hook, modes
from vizsla.debugging.exceptions import TensorUnavailableForStep
from vizsla.debugging.store import Reader, is_being_written
from vizsla.errors import UsageError

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("VIZSLA_JOB_DIR", raising=False)
    yield tmp_path / "debug"
    del_hook()


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def train(model: Any, steps: int, *, validate: bool = True) -> list[float]:
    optimizer, loss_of = torch.optim.SGD(model.parameters(), 0.05), nn.CrossEntropyLoss()
    losses = []
    for step in range(steps):
        model.train()
        loss = loss_of(model(torch.randn(8, 3, 8, 8)), torch.arange(8) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if validate and step % 5 == 4:
            model.eval()
            with torch.no_grad():
                loss_of(model(torch.randn(8, 3, 8, 8)), torch.arange(8) % 3)
    return losses


def test_a_model_alone_is_registered_and_the_rest_is_seen(folder: Path) -> None:
    model = network()
    hook = Hook(folder, save_config=SaveConfig(save_interval=5), reduction_config=ReductionConfig(save_raw_tensor=True))
    hook.include_collections.update(("weights", "gradients"))
    hook.register_module(model)
    before = model[4].weight.detach().clone()
    losses = train(model, 10)
    hook.close()
    trial = create_trial(folder)
    assert trial.loaded_all_steps
    assert [mode.name for mode in trial.modes()] == ["TRAIN", "EVAL"]
    loss = trial.tensor("CrossEntropyLoss_output_0")
    assert [float(v) for v in loss.values(modes.TRAIN).values()] == pytest.approx(losses)
    assert loss.steps(modes.EVAL) == [0, 1]
    weight = trial.tensor("Sequential_4.weight")
    assert weight.steps(modes.TRAIN) == [0, 5]
    assert np.array_equal(weight.value(0, modes.TRAIN), before.numpy())
    second = weight.value(5, modes.TRAIN).astype(np.float64)
    for name, expected in (
        ("mean", second.mean()),
        ("std", second.std()),
        ("min", second.min()),
        ("l1", abs(second).sum()),
        ("l2", np.linalg.norm(second)),
        ("variance", second.var()),
    ):
        assert weight.reduction_value(5, name, modes.TRAIN) == pytest.approx(expected, rel=1e-5)
    for name, expected in (("max", abs(second).max()), ("std", abs(second).std()), ("min", abs(second).min())):
        assert weight.reduction_value(5, name, modes.TRAIN, abs=True) == pytest.approx(expected, rel=1e-4)
    assert trial.tensor_names(collection="gradients") == [
        f"gradient/Sequential_{name}" for name in ("0.bias", "0.weight", "1.bias", "1.weight", "4.bias", "4.weight")
    ]
    assert trial.tensor("2_output_0").shape(0) == (8, 4, 6, 6)
    with pytest.raises(TensorUnavailableForStep, match="reduction_value"):
        trial.tensor("2_output_0").value(0)


def test_gradients_that_are_gathered_over_steps_are_recorded_when_they_are_used(folder: Path) -> None:
    model = network()
    hook = Hook(folder, save_config=SaveConfig(save_interval=4), include_collections=["gradients"])
    hook.register_module(model)
    optimizer, loss_of = torch.optim.SGD(model.parameters(), 0.05), nn.CrossEntropyLoss()
    for step in range(24):
        loss_of(model(torch.randn(8, 3, 8, 8)), torch.arange(8) % 3).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
    hook.close()
    gradient = create_trial(folder).tensor("gradient/Sequential_4.weight")
    assert gradient.steps() == [1, 5, 9, 13, 17, 21]
    rows = [row for row in Reader(folder).new_rows() if row.collection == "updates" and row.step > 16]
    assert rows, "rules see updates beyond the first steps, which are all recorded"


def test_nothing_stays_on_the_model(folder: Path, tmp_path: Path) -> None:
    model = network()
    hook = Hook(folder)
    hook.register_module(model)
    train(model, 2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    torch.save(model, tmp_path / "model.pt")
    torch.jit.script(model)
    hook.close()


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")], ids=["parallel", "compiled"]
)
def test_a_wrapped_model(folder: Path, wrap: Any, capfd: pytest.CaptureFixture[str]) -> None:
    model = wrap(network())
    hook = Hook(folder)
    hook.register_module(model)
    losses = train(model, 3, validate=False)
    hook.close()
    assert not hook.off
    trial = create_trial(folder)
    assert list(trial.tensor("CrossEntropyLoss_output_0").values(modes.TRAIN)) == [0, 1, 2]
    assert len(losses) == 3
    prefix = "DataParallel_module." if isinstance(model, nn.DataParallel) else "Sequential_"
    assert trial.has_tensor(f"{prefix}4.weight")
    assert trial.has_tensor(f"gradient/{prefix}4.weight")
    assert ("compiled" in capfd.readouterr().err) is not isinstance(model, nn.DataParallel)


class Odd(nn.Module):  # type: ignore[name-defined, misc]
    """Gives what is no tensor that has a mean: nothing a hook could have thought of."""

    def forward(self, x: Any) -> Any:
        class Strange:
            def detach(self) -> Any:
                return self

        return x, Strange()


def test_a_fault_within_the_hook_switches_it_off_and_training_goes_on(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Net(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.odd, self.last = Odd(), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.last(self.odd(x)[0])

    model, hook = Net(), Hook(folder, save_all=True)
    hook.register_module(model)
    for _ in range(2):
        assert model(torch.randn(3, 4)).shape == (3, 2)
    assert hook.off
    assert "hook is off: AttributeError: " in capfd.readouterr().err
    assert create_trial(folder).loaded_all_steps


def own_loss(logits: Any, labels: Any) -> Any:
    return nn.functional.log_softmax(logits, 1).sub(0.1)[range(len(labels)), labels].neg().mean()


@pytest.mark.parametrize("loss", ["own_loss", "cross_entropy"])
def test_a_loss_that_is_a_function(folder: Path, loss: str) -> None:
    model, hook = nn.Linear(4, 3), Hook(folder)
    hook.register_module(model)
    function = globals().get(loss) or getattr(nn.functional, loss)
    hook.register_loss(function)
    function = globals().get(loss) or getattr(nn.functional, loss)  # as a loop looks it up
    values = [function(model(torch.randn(6, 4)), torch.arange(6) % 3).item() for _ in range(3)]
    hook.close()
    name = "own_loss_output_0" if loss == "own_loss" else "cross_entropy_loss_output_0"
    trial = create_trial(folder)
    assert [float(v) for v in trial.tensor(name).values().values()] == pytest.approx(values)
    assert trial.tensor_names(collection="losses") == [name]


def test_frozen_parameters_have_no_gradients_and_are_no_trouble(folder: Path) -> None:
    model = network()
    model[0].requires_grad_(False)
    hook = Hook(folder)
    hook.register_module(model)
    train(model, 3)
    hook.close()
    names = create_trial(folder).tensor_names()
    assert "gradient/Sequential_4.weight" in names
    assert "gradient/Sequential_0.weight" not in names


def test_a_pattern_that_matches_nothing_is_said_while_it_trains(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hook = Hook(folder, include_regex="conv9.*weight")
    model = network()
    hook.register_module(model)
    train(model, 2)
    said = capfd.readouterr().err
    assert "'conv9.*weight') matches no tensor; there are such as Sequential_0.weight" in said
    hook.close()


def test_of_two_hooks_in_one_folder_the_second_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = Hook(folder), Hook(folder)
    first.save_scalar("a", 1.0)
    second.save_scalar("b", 2.0)
    assert (first.off, second.off) == (False, True)
    assert "another hook records in" in capfd.readouterr().err
    first.close()


def test_a_configuration_that_is_not_json(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "debughookconfig.json"
    broken.write_text("{save_interval: 1")
    with pytest.raises(UsageError, match="is no JSON: Expecting property name") as error:
        Hook.create_from_json_file(broken)
    assert "where: " + str(broken) in str(error.value)
    hook = get_hook(broken, create_if_not_exists=True)
    assert hook is not None
    assert hook.off, "training goes on"
    assert "hook is off: The hook's configuration is no JSON" in capfd.readouterr().err
    broken.write_text('{"HookParameters": {"save_interval": "often"}}')
    with pytest.raises(UsageError, match=r"'often' is no number of steps(.|\n)*save_interval"):
        Hook.create_from_json_file(broken)


def test_a_configuration_in_yaml(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "hook.yaml"
    path.write_text(
        f"LocalPath: {folder}\nHookParameters: {{train.save_interval: 2}}\n"
        "CollectionConfigurations:\n- CollectionName: convs\n  CollectionParameters: {include_regex: '.*0.weight'}\n"
    )
    hook = Hook.create_from_json_file(path)
    model = network()
    hook.register_module(model)
    train(model, 4, validate=False)
    hook.close()
    trial = create_trial(folder)
    assert trial.collection("convs").tensor_names == {"Sequential_0.weight", "gradient/Sequential_0.weight"}
    assert trial.tensor("Sequential_0.weight").steps(modes.TRAIN) == [0, 2]


def test_an_attempt_goes_on_with_the_steps_of_the_one_before(folder: Path) -> None:
    for _ in range(2):
        model, hook = network(), Hook(folder)
        hook.register_module(model)
        train(model, 5)
        hook.close()
    loss = create_trial(folder).tensor("CrossEntropyLoss_output_0")
    assert loss.steps() == list(range(12))
    assert loss.steps(modes.TRAIN) == list(range(10))


_ENDLESS = """
    import sys, torch
    from vizsla.debugging import Hook, ReductionConfig
    model = torch.nn.Linear(4, 2)
    hook = Hook(sys.argv[1], include_collections=["weights"], reduction_config=ReductionConfig(save_raw_tensor=True))
    hook.register_module(model)
    loss_of, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1)
    while True:
        optimizer.zero_grad()
        loss_of(model(torch.randn(4, 4)), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
"""


def test_a_store_is_read_while_it_is_written_and_after_a_kill(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(_ENDLESS), str(folder)])
    reader = Reader(folder)
    try:
        rows = []
        end = time.monotonic() + 60
        while len({row.step for row in rows}) < 300 and time.monotonic() < end:
            rows += reader.new_rows()
            time.sleep(0.1)
        assert is_being_written(folder)
        trial = create_trial(folder)
        assert not trial.loaded_all_steps
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    rows += reader.new_rows()
    assert trial.loaded_all_steps
    steps = trial.steps()
    assert steps == list(range(steps[-1] + 1)), "nothing is missing before the end"
    assert len(rows) == len(Reader(folder).new_rows()), "bit by bit, each row came once"
    weight = trial.tensor("Linear_weight")
    assert weight.value(weight.steps()[3]).shape == (2, 4)


def test_a_full_disk_ends_the_recording_and_not_the_training(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VIZSLA_JOB_DIR", raising=False)
    model = nn.Linear(3 * 8 * 8, 400)
    hook = Hook(
        small_disk / "debug", include_collections=["weights"], reduction_config=ReductionConfig(save_raw_tensor=True)
    )
    hook.register_module(model)
    for _ in range(4):
        model(torch.randn(2, 192)).sum().backward()
        hook.flush()
    assert hook.off
    assert "hook is off: " in capfd.readouterr().err
    assert not list((small_disk / "debug").rglob("*.tmp"))


def test_kept_tensors_are_bounded(folder: Path) -> None:
    hook = Hook(
        folder,
        include_collections=["weights"],
        reduction_config=ReductionConfig(save_raw_tensor=True),
        disk_bytes=100_000,
    )
    model = nn.Linear(50, 50)
    hook.register_module(model)
    for _ in range(60):
        model(torch.randn(2, 50))
        hook.flush()
    hook.close()
    weight = create_trial(folder).tensor("Linear_weight")
    kept = list((folder / "tensors").iterdir())
    assert sum(path.stat().st_size for path in kept) <= 110_000
    assert weight.value(0).shape == (50, 50), "the first is kept"
