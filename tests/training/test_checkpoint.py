"""A training that was cut off goes on from its checkpoint to the bits of one that never was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_heads import CONFIGS, data
from vizsla.errors import StorageError, UsageError
from vizsla.training.checkpoint import Checkpoint, interval
from vizsla.training.config import StepConfig
from vizsla.training.heads import train_heads
from vizsla.training.trained import EpochMetrics, OnEpoch, TrainedHead

IDENTITY, OTHER = "ab" * 32, "cd" * 32


class CutOffError(Exception):
    """The training ends here."""


def checkpoint(path: Path, note: Callable[[str], None] = lambda text: None, identity: str = IDENTITY) -> Checkpoint:
    """One that is written after every epoch."""
    return Checkpoint(path, identity, note, lambda cost: 0)


def cut_at(epoch: int) -> OnEpoch:
    def on_epoch(metrics: dict[int, EpochMetrics]) -> None:
        if metrics[0].epoch == epoch:
            raise CutOffError

    return on_epoch


def facts(trained: TrainedHead) -> tuple[object, ...]:
    """All of it, so that equal means equal to the bit; text, for a loss that is no number equals nothing."""
    head = trained.head.weight.tobytes() + trained.head.bias.tobytes()
    return trained.config, head, trained.best_epoch, trained.stopped_by, repr(trained.history)


LONGER = [
    StepConfig(optimizer="sgd", lr=0.05, epochs=60, momentum=0.5, patience=3),
    StepConfig(lr=0.1, epochs=60, patience=3, balance="sampling"),
    StepConfig(optimizer="sgd", lr=1e30, epochs=5, patience=None),
]


@pytest.mark.parametrize("config", [*CONFIGS, *LONGER], ids=str)
def test_cut_off_after_every_epoch_it_comes_to_the_same_bits(config: StepConfig, tmp_path: Path) -> None:
    (whole,) = train_heads(data(), [config])
    told: list[str] = []
    for epoch in range(2, len(whole.history) + 1):
        with pytest.raises(CutOffError):
            train_heads(data(), [config], cut_at(epoch), checkpoint(tmp_path / "head", told.append))
    seen: list[EpochMetrics] = []
    (found,) = train_heads(
        data(), [config], lambda metrics: seen.append(metrics[0]), checkpoint(tmp_path / "head", told.append)
    )
    assert facts(found) == facts(whole)
    assert repr(seen) == repr(whole.history), "every epoch is told, in order"
    assert told == [f"Training goes on after epoch {epoch}." for epoch in range(1, len(whole.history))]


def test_what_had_ended_ends_alike_without_another_epoch(tmp_path: Path) -> None:
    config = StepConfig(lr=0.01, epochs=9)
    for name, stop in (("watcher", [0]), ("epochs", [])):
        (whole,) = train_heads(data(), [config], lambda m, stop=stop: stop, checkpoint(tmp_path / name))
        (again,) = train_heads(data(), [config], cut_at(len(whole.history) + 1), checkpoint(tmp_path / name))
        assert whole.stopped_by == name
        assert facts(again) == facts(whole)


def test_a_checkpoint_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    config, told = StepConfig(lr=0.01, epochs=5), list[str]()
    with pytest.raises(CutOffError):
        train_heads(data(), [replace(config, lr=0.5)], cut_at(4), checkpoint(tmp_path / "head", identity=OTHER))
    (whole,) = train_heads(data(), [config])
    (found,) = train_heads(data(), [config], checkpoint=checkpoint(tmp_path / "head", told.append))
    assert facts(found) == facts(whole)
    assert told == [
        "The checkpoint head is of other data, another configuration or other versions: "
        "training begins with its first epoch."
    ]


def test_a_damaged_or_cut_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path, told = tmp_path / "head", list[str]()
    train_heads(data(), [StepConfig(lr=0.01, epochs=2)], checkpoint=checkpoint(path))
    content = path.read_bytes()
    assert checkpoint(path).load() is not None
    damages = [content[:size] for size in range(0, len(content), 7)]
    for at in range(0, len(content), 5):
        damages.append(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
    for damage in [*damages, content + b"\0"]:
        path.write_bytes(damage)
        assert checkpoint(path, told.append).load() is None
    assert len(told) == len(damages) + 1
    assert told[0] == "The checkpoint head is damaged: training begins with its first epoch."
    path.unlink()
    path.mkdir()  # not even a file
    assert checkpoint(path, told.append).load() is None


def test_it_is_written_once_a_second_or_where_a_write_takes_long_once_in_a_hundred_writes() -> None:
    assert [interval(cost) for cost in (0, 0.001, 0.01, 0.05, 2)] == [1, 1, 1, 5, 200]


def test_it_is_not_written_before_its_time(tmp_path: Path) -> None:
    seldom = Checkpoint(tmp_path / "head", IDENTITY, interval=lambda cost: 1e9)
    train_heads(data(), [StepConfig(lr=0.01, epochs=3)], checkpoint=seldom)
    assert list(tmp_path.iterdir()) == []


def test_what_the_first_write_takes_is_guessed_from_its_size(tmp_path: Path) -> None:
    def never_above_50_ms(cost: float) -> float:
        return 0 if cost <= 0.05 else 1e9

    for name, size in (("small", 10_000_000), ("large", 10_000_001)):
        state = {"values": np.zeros(size, np.uint8)}
        kept = Checkpoint(tmp_path / name, IDENTITY, interval=never_above_50_ms)
        kept.offer(1, lambda state=state: state)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_removed_it_leaves_nothing_also_not_of_writes_that_were_killed(tmp_path: Path) -> None:
    kept = checkpoint(tmp_path / "head")
    kept.remove()  # nothing there is fine
    kept.offer(1, lambda: {"values": np.arange(3)})
    (tmp_path / ".head.0123456789ab.tmp").write_bytes(b"half")
    (tmp_path / "study.db").write_bytes(b"another's")
    kept.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]


def test_arrays_come_back_as_they_were_whatever_lies_between_their_values(tmp_path: Path) -> None:
    values = np.arange(24.0, dtype=np.float32).reshape(4, 3, 2)[:, 1]
    kept = checkpoint(tmp_path / "head")
    kept.offer(7, lambda: {"values": values, "none": values[:0]})
    found = kept.load()
    assert found is not None
    epoch, state = found
    assert epoch == 7
    assert np.array_equal(state["values"], values)
    assert state["none"].shape == (0, 2)


def test_what_the_file_system_refuses_comes_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Cannot write here"):
        checkpoint(tmp_path / "file" / "head").offer(1, dict)


def test_several_heads_have_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A checkpoint cannot hold 8 heads") as error:
        train_heads(data(), CONFIGS, checkpoint=checkpoint(tmp_path / "head"))
    assert error.value.allowed == "a single head"
