"""What the minutes allow, by what training costs."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.fine_tuning.conftest import Setting
from vizsla.errors import StorageError, UsageError
from vizsla.models.backbone import load_backbone
from vizsla.training.callbacks import Callback
from vizsla.training.config import LbfgsConfig
from vizsla.training.fine_tuning import schedule, stage
from vizsla.training.fine_tuning.config import FineTuneConfig, training_config
from vizsla.training.fine_tuning.cost import Cost
from vizsla.training.fine_tuning.network import Network
from vizsla.training.fine_tuning.schedule import Costs, LastCost, cuts_for, within

LAST = FineTuneConfig("last", cut="layer4.0").resolved()
FULL = FineTuneConfig("full").resolved()
COSTS = Costs(  # 10, 20 and 30 s an epoch of 1,000 pictures
    {"layer4.0": LastCost(Cost(0.01, 0.005), 0.005), "layer3.0": LastCost(Cost(0.02, 0.01), 0.002)}, Cost(0.03, 0.01)
)


def epochs(planned: list[FineTuneConfig], seconds: float) -> list[tuple[str, int | None]]:
    timed = within(planned, COSTS, 1000, 100, seconds, auto=len(planned) > 1)
    return [(stage.cut or "all", stage.epochs) for stage, _ in timed]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (12, []),
        (20, [("layer4.0", 1)]),  # four views alone take as long: one is left
        (40, [("layer4.0", 2)]),
        (60, [("layer4.0", 3)]),
        (120, [("layer4.0", 8)]),
        (180, [("layer4.0", 14)]),
        (200, [("layer3.0", 8)]),
        (300, [("layer4.0", 7), ("all", 6)]),
        (600, [("layer3.0", 9), ("all", 12)]),
        (5000, [("layer3.0", 16), ("all", 30)]),
    ],
)
def test_more_time_trains_more(seconds: float, expected: list[tuple[str, int]]) -> None:
    assert epochs([LAST, FULL], seconds) == expected
    planned = within([LAST, FULL], COSTS, 1000, 100, seconds, auto=True)
    assert sum(took for _, took in planned) <= 0.95 * seconds


def test_decoding_and_drawing_take_time_too() -> None:
    slow = replace(COSTS, decode=0.01, draw=0.005)  # 21 s to decode the store and the plain pictures, 15 s of crops
    assert slow.activations("layer4.0", 4, 1000, 100) == pytest.approx(
        COSTS.activations("layer4.0", 4, 1000, 100) + 21 + 15
    )
    assert slow.activations("layer4.0", 1, 1000, 100) == pytest.approx(COSTS.activations("layer4.0", 1, 1000, 100) + 11)
    (before,), (after,) = (within([FULL], costs, 1000, 100, 120, auto=False) for costs in (COSTS, slow))
    assert after[0].epochs == (before[0].epochs or 0)
    assert after[1] == pytest.approx(before[1] + 11)


def test_a_depth_that_is_asked_for_gets_no_more_than_its_epochs() -> None:
    assert epochs([FULL], 5000) == [("all", FULL.epochs)]
    assert epochs([FULL], 70) == [("all", 2)]


def test_what_was_decided_before_a_kill_stays(setting: Setting, tmp_path: Path) -> None:
    config = FineTuneConfig("last", epochs=1, batch_size=8, views=1)
    setting.train(tmp_path / "a", config)
    path = tmp_path / "a" / schedule.FILE
    stored = json.loads(path.read_text())
    assert stored["stages"][0]["cut"] == "layer2.0"
    stored["stages"][0]["epochs"] = 2
    path.write_text(json.dumps(stored))
    assert len(setting.train(tmp_path / "a", config).trained.history) == 2


class EndsAtOnce(Callback):
    """Ends the training where it begins: what is tested comes before."""

    def on_step(self, step: int) -> None:
        raise KeyboardInterrupt


def test_measuring_takes_a_part_of_the_time_and_counts(setting: Setting, tmp_path: Path, monkeypatch: Any) -> None:
    cost = schedule.cost

    def busy(network: Network, example: torch.Tensor) -> Cost:
        time.sleep(1.5)
        return cost(network, example)

    monkeypatch.setattr(schedule, "cost", busy)
    monkeypatch.setattr(schedule, "_LEAST_SECONDS", 0.0)
    backbone = load_backbone(setting.spec)
    cuts = cuts_for(backbone, FineTuneConfig("auto"), 36, 10**9)
    assert len(cuts) > 1
    asked = FineTuneConfig("auto", batch_size=8, views=2)
    with pytest.raises(KeyboardInterrupt):
        setting.train(tmp_path, asked, EndsAtOnce(), deadline=time.monotonic() + 10)
    (note,) = (note for note in setting.notes if "that are left" in note)
    left = float(re.findall(r"For the (\d+) s", note)[0])
    assert left <= 10 - 3, (
        "of one cut and of all blocks: the other cuts were left out, and the time is told that is left"
    )
    assert left > 3


def test_a_full_disk_gets_a_smaller_cut_or_is_told(setting: Setting) -> None:
    backbone, config, notes = load_backbone(setting.spec), FineTuneConfig("last"), []
    first, *_ = cuts_for(backbone, config, 100, 10**12)
    later = cuts_for(backbone, config, 100, 100 * first.bytes - 1, notes.append)
    assert [cut.bytes < first.bytes for cut in later] == [True]
    assert f"no room for the activations before {first.place}" in notes[0]
    with pytest.raises(StorageError, match="There is no room for the activations before") as caught:
        cuts_for(backbone, replace(config, cut=first.place), 100, 100 * first.bytes - 1)
    assert "VIZSLA_CACHE_GB" in str(caught.value.do)
    assert "lower views" in str(caught.value.do)


def test_minutes_alone_ask_for_the_best_that_they_allow() -> None:
    assert training_config({"seed": 3}, minutes=5) == FineTuneConfig("auto", seed=3)
    assert isinstance(training_config({"balance": "weights"}, minutes=5), LbfgsConfig)
    assert isinstance(training_config({}), LbfgsConfig)


@pytest.mark.parametrize(
    ("values", "what", "do"),
    [
        ({"views": 3}, "views means nothing where the head alone is trained.", "leave views out, or name a depth"),
        ({"depth": "last", "head": "cosine"}, "head='cosine' is for a head that is trained alone.", "leave head or"),
        ({"depth": "full", "optimizer": "lbfgs"}, "optimizer='lbfgs' is for a head", "leave optimizer or depth out"),
        ({"depth": "full", "cut": "blocks.5"}, "cut='blocks.5' means nothing where all blocks train.", "leave cut out"),
        ({"depth": "last", "batch_norm": "train"}, "batch_norm='train' means nothing where the last", "or name depth="),
        ({"depth": "deep"}, "depth='deep' cannot be used.", None),
        ({"depth": "full", "layer_decay": 2}, "layer_decay=2 cannot be used.", None),
    ],
)
def test_what_cannot_be_meant_is_said(values: dict[str, object], what: str, do: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        training_config(values)
    assert what in caught.value.what
    assert (do or "") in (caught.value.do or "")


@pytest.mark.parametrize(
    ("flags", "groups", "gains"),
    [
        ("avx2 avx512f", 1, False),
        ("avx512_bf16", 1, True),
        ("avx512_bf16", 8, False),
        ("avx512_bf16 amx_bf16", 8, True),
    ],
)
def test_bfloat16_is_chosen_by_what_processor_and_network_are(
    flags: str, groups: int, gains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    monkeypatch.setattr(stage, "_PROCESSOR", tmp_path / "cpuinfo")
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=groups), nn.Linear(4, 2))
    assert stage.gains_from_bfloat16(torch.device("cpu"), network) is gains
