"""What may decide, and why the test split may not."""

from __future__ import annotations

import pytest

from vizsla.errors import UsageError
from vizsla.tuning.objective import Objective, names_test, own_objective, script_objective


@pytest.mark.parametrize("metric", ["average test loss", "test_accuracy", "Test Accuracy", "test:accuracy", "testloss"])
def test_our_own_training_refuses_the_test_split_with_the_reason(metric: str) -> None:
    with pytest.raises(UsageError) as caught:
        own_objective(metric)
    text = str(caught.value)
    assert f"{metric!r} is refused: the test split is sealed" in text
    assert "nothing is left to measure it honestly" in text
    assert "use valid_loss" in text or "use valid_accuracy" in text


@pytest.mark.parametrize("metric", ["latest_loss", "contested", "fastest", "attestation", "val_loss"])
def test_other_words_are_no_test_metrics(metric: str) -> None:
    assert not names_test(metric)


def test_names_and_directions() -> None:
    assert own_objective(None) == Objective("valid_loss", "minimize")
    assert own_objective("accuracy") == Objective("valid_accuracy", "maximize")
    assert own_objective("validation:accuracy", "Maximize") == Objective("valid_accuracy", "maximize")
    with pytest.raises(UsageError, match="measures no metric 'f1'"):
        own_objective("f1")
    with pytest.raises(UsageError, match="valid_loss cannot be maximized"):
        own_objective("valid_loss", "maximize")


def test_a_script_may_use_a_test_metric_and_is_warned() -> None:
    objective, warning = script_objective("average test loss", "Minimize", ["average test loss"])
    assert objective == Objective("average test loss", "minimize")
    assert warning is not None
    assert "will look better than it is" in warning
    assert script_objective("val_acc", None, ["val_acc"]) == (Objective("val_acc", "maximize"), None)


def test_an_unknown_metric_lists_those_defined() -> None:
    with pytest.raises(UsageError) as caught:
        script_objective("acc", None, ["loss", "valid accuracy"])
    assert "No metric definition is named 'acc'" in str(caught.value)
    assert "allowed: loss, valid accuracy" in str(caught.value)
    assert "do: choose one of them, or add metrics={'acc': 'REGEX'}" in str(caught.value)
    with pytest.raises(UsageError, match=r"add metrics=\{'test acc': 'REGEX'\}"):
        script_objective("test acc", None, ["loss"])


def test_a_value_that_is_no_number_is_never_better() -> None:
    objective = Objective("loss", "minimize")
    assert not objective.better(float("nan"), 3.0)
    assert objective.better(3.0, float("nan"))
    assert objective.better(1.0, 2.0)
    assert Objective.from_dict(objective.to_dict()) == objective
