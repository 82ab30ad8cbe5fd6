"""Healthy trainings of kinds that rules once took for faulty ones; each beside the fault that it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vizsla.debugging.evaluation import evaluate
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.hook import Hook

torch = pytest.importorskip("torch")
nn = torch.nn

Loss = Callable[[Any, Any], Any]
Batch = tuple[Any, Any]


def net(*middle: Any) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 24), nn.ReLU(), *middle, nn.Linear(24, 4))


def batches(count: int, size: int = 16, last: int | None = None) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for step in range(count):
        n = last if last is not None and step == count - 1 else size
        labels = torch.randint(0, 4, (n,), generator=generator)
        pictures = 0.5 * torch.randn(n, 3, 4, 4, generator=generator) + labels.view(-1, 1, 1, 1) / 4
        found.append((pictures, labels))
    return found


def spoken(
    folder: Path, model: Any, loss_of: Loss, data: list[Batch], lr: float = 0.05, optimizer: Any = None
) -> dict[str, RuleFinding]:
    """What rules say of a short training, by their names."""
    hook = Hook(folder)
    hook.register_module(model)
    optimizer = optimizer or torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr)
    for pictures, labels in data:
        optimizer.zero_grad()
        loss_of(model(pictures), labels).backward()
        optimizer.step()
    hook.close()
    evaluation = evaluate(folder)
    assert not evaluation.broken, evaluation.broken
    return {finding.rule: finding for finding in evaluation.findings}


def test_labels_of_several_classes_are_no_classes(tmp_path: Path) -> None:
    """Nearly every picture has the first one: as classes, they would be imbalanced and be taken for each other."""
    loss = nn.BCEWithLogitsLoss()

    def several(logits: Any, labels: Any) -> Any:
        targets = nn.functional.one_hot(labels, 4).float()
        targets[:, 0] = 1
        return loss(logits, targets)

    assert not {"class_imbalance", "confusion"} & spoken(tmp_path, net(), several, batches(60)).keys()


def test_imbalance_is_still_seen_in_labels_of_one_class_however_they_are_given(tmp_path: Path) -> None:
    for name, loss in (("of_ids", nn.CrossEntropyLoss()), ("of_shares", nn.BCEWithLogitsLoss())):
        data = [(x, torch.where(torch.arange(len(y)) == 0, y, 0)) for x, y in batches(60)]

        def call(logits: Any, labels: Any, loss: Any = loss) -> Any:
            return loss(logits, nn.functional.one_hot(labels, 4).float()) if loss is not None else None

        found = spoken(tmp_path / name, net(), call, data)
        assert found["class_imbalance"].evidence["counts"][0] > 10 * found["class_imbalance"].evidence["counts"][1]


def test_a_teachers_answers_are_no_labels(tmp_path: Path) -> None:
    teacher, distil = net(), nn.KLDivLoss(reduction="batchmean")

    def loss(logits: Any, labels: Any) -> Any:
        return distil(logits.log_softmax(1), teacher_answers[0].softmax(1))

    teacher_answers = [torch.tensor([[9.0, 0, 0, 0]]).repeat(16, 1)]
    del teacher
    assert "class_imbalance" not in spoken(tmp_path, net(), loss, batches(60))


def test_a_model_that_has_learned_before_may_take_an_epoch_to_gain(tmp_path: Path) -> None:
    """Its loss is flat while the learning rate warms up, as is that of labels that nothing follows from."""
    generator = torch.Generator().manual_seed(3)

    def flipped(share: float, count: int) -> list[Batch]:
        found = []
        for pictures, labels in batches(count):
            others = torch.where(torch.rand(len(labels), generator=generator) < share, (labels + 1) % 4, labels)
            found.append((pictures + labels.view(-1, 1, 1, 1) / 2, others))
        return found

    model, loss = net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for pictures, labels in flipped(0.15, 1200):
        optimizer.zero_grad()
        loss(model(pictures), labels).backward()
        optimizer.step()
    assert "loss_not_decreasing" not in spoken(tmp_path / "warm", model, loss, 10 * flipped(0.15, 20), lr=1e-5)
    told = spoken(tmp_path / "cold", net(), loss, flipped(0.75, 200), lr=1e-5)
    assert "loss_not_decreasing" in told


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_that_training_does_not_use_either_are_no_gap(tmp_path: Path, frozen: bool) -> None:
    """Folded weights, whose statistics stay as they are, beside an evaluation on pictures of another normalisation."""
    norm = nn.BatchNorm1d(24)
    model, loss = net(norm), nn.CrossEntropyLoss()
    norm.running_var.fill_(0.01)
    hook = Hook(tmp_path)
    hook.register_module(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for step, (pictures, labels) in enumerate(batches(240)):
        is_evaluation = step % 20 > 15
        model.train(not is_evaluation)
        norm.train(not is_evaluation and not frozen)
        if is_evaluation:
            with torch.no_grad():
                loss(model(pictures if frozen else 20 * pictures), labels)
            continue
        optimizer.zero_grad()
        loss(model(pictures), labels).backward()
        optimizer.step()
    hook.close()
    assert ("batch_norm_gap" in {finding.rule for finding in evaluate(tmp_path).findings}) is not frozen


class Scaled(nn.Module):
    """A branch with layer scale, and a token of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))
        self.gamma = nn.Parameter(1e-6 * torch.ones(24, 1, 1))
        self.token = nn.Parameter(torch.zeros(1, 1, 24))

    def forward(self, x: Any) -> Any:
        return x + self.token[0] + self.gamma[:, 0, 0] * self.inner(x)


def test_layer_scale_and_tokens_are_no_poor_beginning(tmp_path: Path) -> None:
    model = net(Scaled(), Scaled(), Scaled())
    found = spoken(tmp_path, model, nn.CrossEntropyLoss(), batches(12), optimizer=torch.optim.AdamW(model.parameters()))
    assert not {"poor_weight_initialization", "vanishing_gradient"} & found.keys()


class ZeroScale(nn.Module):
    """A branch whose last normalisation begins as 0, as those of timm's residual networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24)), nn.BatchNorm1d(24)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Any) -> Any:
        return (x + self.norm(self.inner(x))).relu()


def test_normalisations_that_begin_as_zero_are_no_vanished_gradients(tmp_path: Path) -> None:
    model = net(ZeroScale(), ZeroScale(), ZeroScale(), ZeroScale())
    found = spoken(tmp_path, model, nn.CrossEntropyLoss(), batches(12))
    assert not {"vanishing_gradient", "poor_weight_initialization"} & found.keys()


def test_gradients_that_vanish_in_the_depth_still_do(tmp_path: Path) -> None:
    model = net(*[part for _ in range(14) for part in (nn.Linear(24, 24), nn.Sigmoid())])
    assert "vanishing_gradient" in spoken(tmp_path, model, nn.CrossEntropyLoss(), batches(12))


def test_weights_of_one_number_still_are(tmp_path: Path) -> None:
    model = net(nn.Linear(24, 24), nn.ReLU())
    nn.init.constant_(model[3].weight, 0.01)
    found = spoken(tmp_path, model, nn.CrossEntropyLoss(), batches(12))
    assert found["poor_weight_initialization"].evidence["tensors"] == ["Sequential_3.weight"]


class Pretrained(nn.Module):
    """A convolution that says how its pictures were normalised, with a normalisation that was trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.norm.running_mean += 0.1
        self.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

    def forward(self, x: Any) -> Any:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


def pictures(erased: bool, normalised: bool) -> list[Batch]:
    generator = torch.Generator().manual_seed(2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = []
    for _ in range(6):
        x = torch.rand(16, 3, 24, 24, generator=generator)
        x = (x - mean) / std if normalised else x
        if erased:
            x[::4, :, 4:12, 4:12] = torch.randn(4, 3, 8, 8, generator=generator) * 2
        found.append((x, torch.arange(16) % 4))
    return found


def test_noise_in_erased_parts_is_no_wrong_normalisation(tmp_path: Path) -> None:
    loss = nn.CrossEntropyLoss()
    assert "wrong_normalization" not in spoken(tmp_path / "right", Pretrained(), loss, pictures(True, True))
    assert "wrong_normalization" in spoken(tmp_path / "wrong", Pretrained(), loss, pictures(False, False))


class HeadFirst(nn.Module):
    """Its head is registered before what it is called after."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.body = nn.Linear(24, 4), nn.Linear(48, 24)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x.flatten(1)).relu())


def test_the_last_layer_is_the_one_that_is_called_last(tmp_path: Path) -> None:
    model = HeadFirst()
    model.body.requires_grad_(False)
    assert "frozen_mismatch" not in spoken(tmp_path / "body", model, nn.CrossEntropyLoss(), batches(12))
    model = HeadFirst()
    model.head.requires_grad_(False)
    found = spoken(tmp_path / "head", model, nn.CrossEntropyLoss(), batches(12))
    assert found["frozen_mismatch"].subject == "HeadFirst_head.weight"


def test_a_last_batch_of_one_picture_is_no_spike(tmp_path: Path) -> None:
    def data(last: int) -> list[Batch]:
        found = batches(60, last=last)
        pictures, labels = found[-1]
        return [*found[:-1], (20 * pictures, (labels + 2) % 4)]  # far away, and mislabelled

    loss = nn.CrossEntropyLoss()
    assert "loss_spike" not in spoken(tmp_path / "one", net(), loss, data(1))
    assert "loss_spike" in spoken(tmp_path / "whole", net(), loss, data(16))


def test_a_sum_that_is_divided_later_is_a_mean(tmp_path: Path) -> None:
    loss = nn.CrossEntropyLoss(reduction="sum")
    divided = spoken(
        tmp_path / "divided", net(), lambda logits, labels: loss(logits, labels) / len(labels), batches(12)
    )
    assert "summed_loss" not in divided
    assert "summed_loss" in spoken(tmp_path / "summed", net(), loss, batches(12), lr=0.001)


class Focal(nn.Module):
    """A loss of a user's own, as timm's are: a module that is no loss of torch."""

    def forward(self, logits: Any, labels: Any) -> Any:
        own = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
        return -((1 - own.exp()) ** 2 * own).mean()


class FocalLoss(Focal):
    """The same, by a name that says what it is."""


def test_losses_that_are_none_of_torchs_are_seen_by_their_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def recorded(folder: Path, loss: Any) -> set[str]:
        spoken(folder, net(), loss, batches(4))
        from vizsla.debugging.trial import create_trial

        return set(create_trial(folder).tensor_names(collection="losses"))

    assert recorded(tmp_path / "named", FocalLoss()) == {"FocalLoss_output_0"}
    timm = pytest.importorskip("timm.loss")
    assert recorded(tmp_path / "timm", timm.LabelSmoothingCrossEntropy()) == {"LabelSmoothingCrossEntropy_output_0"}
    assert "no loss was seen" not in capfd.readouterr().err
    assert recorded(tmp_path / "other", Focal()) == set()
    assert "no loss was seen, which most rules need: hook.register_loss(LOSS)" in capfd.readouterr().err
