"""Rules over real trainings with planted faults: a small part of ``benchmarks/debugger.py``, on painted pictures."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vizsla.debugging.configuration import Action, RulesOfJob, action_configurations
from vizsla.debugging.evaluation import Evaluation, evaluate
from vizsla.debugging.exceptions import TensorUnavailableForStep
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.rules import NAMES, default_rules, rule_class
from vizsla.debugging.rules.base import Rule
from vizsla.debugging.trial import Trial
from vizsla.errors import UsageError

torch = pytest.importorskip("torch")
RUNS = Path(__file__).resolve().parents[2] / "benchmarks" / "debugger_runs" / "__init__.py"


def _runs() -> ModuleType:
    """The benchmark's own runs: tests run without the benchmarks on their path."""
    spec = importlib.util.spec_from_file_location("debugger_runs", RUNS)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["debugger_runs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runs: Any = _runs()
Photos, Run, convolutional, train = runs.Photos, runs.Run, runs.convolutional, runs.train

SGD = partial(torch.optim.SGD, lr=0.02, momentum=0.9)
BASE = Run("", convolutional, SGD, epochs=4)
PLAIN = Run("", partial(convolutional, norm=False), partial(torch.optim.Adam, lr=1e-3), epochs=4)


@pytest.fixture(scope="module")
def photos() -> Any:
    """Five classes of painted pictures, each of its own colour, with much noise."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 200, (5, 3, 1, 1))

    def paint(count: int) -> tuple[Any, Any]:
        labels = np.repeat(np.arange(5), count)
        noise = rng.normal(0, 70, (len(labels), 3, 48, 48))
        return torch.from_numpy(np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)), torch.from_numpy(labels)

    return Photos(paint(40), paint(10))


def spoke(run: Any, photos: Any, folder: Path) -> set[str]:
    torch.set_num_threads(1)
    train(run, photos, folder)
    evaluation = evaluate(folder)
    assert evaluation.broken == {}
    return {f.rule for f in evaluation.findings if f.severity != "info"}


PLANTED = {run.name: run for run in runs.faults(BASE, PLAIN, lambda act: runs.perceptron(32, 8, act))}
IN_TESTS = (
    "all weights 0",
    "biases -10",
    "optimizer with lr 0",
    "NaN at step 30",
    "softmax before loss",
    "no zero_grad",
    "trains in eval mode",
    "head not in optimizer",
    "pixels 0..255",
    "summed loss",
)


@pytest.mark.parametrize("name", IN_TESTS)
def test_a_planted_fault_is_found(name: str, photos: Any, tmp_path: Path) -> None:
    run = PLANTED[name]
    said = spoke(replace(run, epochs=min(run.epochs, 4)), photos, tmp_path / "debug")
    assert said & run.expected
    assert said <= run.expected | run.true_too


@pytest.mark.parametrize("name", ["batch normalisation", "without normalisation", "dropout", "AdamW"])
def test_of_a_healthy_training_nothing_is_said(name: str, photos: Any, tmp_path: Path) -> None:
    well = {run.name: run for run in runs.healthy(BASE, PLAIN)}
    assert spoke(well[name], photos, tmp_path / "debug") == set()


@pytest.fixture(scope="module")
def exploded(photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exploded") / "output" / "debug"
    train(replace(PLANTED["NaN at step 30"], epochs=4), photos, folder)
    return folder


def test_a_finding_says_step_evidence_reason_and_fix(exploded: Path) -> None:
    (finding,) = [f for f in evaluate(exploded).findings if f.rule == "exploding_tensor"]
    line = json.loads(json.dumps(finding.to_dict()))
    assert line["rule"] == "exploding_tensor"
    assert line["severity"] == "error"
    assert Trial(exploded).mode_step(line["step"]) == 30
    assert line["evidence"]["value"] == "nan"
    assert line["evidence"]["n"] >= 1
    assert "is NaN" in line["message"]
    assert line["fix"].startswith("lower the learning rate")
    assert line["why"]


def test_looked_at_bit_by_bit_the_same_is_found_once(exploded: Path, tmp_path: Path) -> None:
    rows = Evaluation(exploded)._reader.new_rows()

    class Slowly:
        at = 0

        def new_rows(self) -> Any:
            begin, self.at = self.at, self.at + 700
            return rows[begin : self.at]

    bits = Evaluation(exploded, reader=Slowly())
    for _ in range(len(rows) // 700 + 1):
        bits.look(over=False)
    bits.look(over=True)
    assert [f.to_dict() for f in bits.findings] == [f.to_dict() for f in evaluate(exploded).findings]


def test_aws_conditions_are_asked_to_the_letter(exploded: Path) -> None:
    aws = evaluate(exploded, compat="aws")
    assert {rule.name for rule in aws.rules} <= {name for name in NAMES if rule_class(name).aws}
    strict = [rule_class("vanishing_gradient").of({"threshold": "1e9"})]
    found = evaluate(exploded, strict, compat="aws").findings
    assert {f.subject for f in found} >= {"gradient/Sequential_0.weight", "gradient/Sequential_11.bias"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("VanishingGradient", "threshold"),
        ("ExplodingTensor", "collection_names tensor_regex only_nan"),
        ("Overfit", "tensor_regex start_step patience ratio_threshold"),
        ("Overtraining", "patience_train patience_validation delta"),
        (
            "LossNotDecreasing",
            "collection_names tensor_regex use_losses_collection num_steps diff_percent increase_threshold_percent "
            "mode",
        ),
        ("DeadRelu", "tensor_regex threshold_inactivity threshold_layer"),
        ("PoorWeightInitialization", "activation_inputs_regex threshold distribution_range patience steps"),
        ("TensorVariance", "collection_names tensor_regex max_threshold min_threshold"),
        ("UnchangedTensor", "collection_names tensor_regex num_steps rtol atol equal_nan"),
        ("WeightUpdateRatio", "num_steps large_threshold small_threshold epsilon"),
        ("AllZero", "collection_names tensor_regex threshold"),
        ("SimilarAcrossRuns", "other_trials collection_names tensor_regex"),
        (
            "ClassImbalance",
            "threshold_imbalance threshold_misprediction samples argmax labels_regex predictions_regex",
        ),
        (
            "Confusion",
            "category_no labels predictions labels_collection predictions_collection min_diag max_off_diag",
        ),
        ("CheckInputImages", "threshold_mean threshold_samples regex channel"),
        ("StalledTrainingRule", "threshold stop_training_on_fire training_job_name_prefix"),
    ],
)
def test_the_parameters_are_those_of_aws(name: str, parameters: str) -> None:
    kind = rule_class(name)
    assert kind.aws == name
    assert set(kind.parameters()) == set(parameters.split())


def test_unknown_rules_parameters_values_and_actions_are_told_with_those_near() -> None:
    with pytest.raises(UsageError, match="no rule 'vanishing_gradiant'; near it: vanishing_gradient"):
        rule_class("vanishing_gradiant")
    with pytest.raises(UsageError, match="has no parameter 'treshold'; near it: threshold"):
        rule_class("vanishing_gradient").of({"treshold": 1})
    with pytest.raises(UsageError, match=r"'soon' cannot be meant(.|\n)*overfit, patience"):
        rule_class("overfit").of({"patience": "soon"})
    with pytest.raises(UsageError, match="not for image classifiers"):
        rule_class("tree_depth")
    with pytest.raises(UsageError, match=r"no action 'explode'(.|\n)*allowed: stop, lower_learning_rate"):
        Action.parse("explode")
    with pytest.raises(UsageError, match="'2' cannot lower a learning rate"):
        Action.parse("lower_learning_rate:2")
    with pytest.raises(UsageError, match="webhook says not where to"):
        action_configurations(["any=webhook"])
    with pytest.raises(UsageError, match="actions are no JSON"):
        RulesOfJob.of(
            [{"RuleConfigurationName": "x", "RuleParameters": {"rule_to_invoke": "Overfit", "action_json": "{"}}]
        )


def _finding(rule: str, configuration: str = "") -> RuleFinding:
    return RuleFinding(rule, "error", 1, "m", "f", configuration=configuration)


def _configuration(name: str, **parameters: str) -> dict[str, Any]:
    return {"RuleConfigurationName": name, "RuleParameters": parameters}


def test_two_configurations_of_one_rule_are_two_rules(exploded: Path) -> None:
    stop = '[{"name": "stoptraining"}]'
    asked = RulesOfJob.of(
        [
            _configuration("all", rule_to_invoke="TensorVariance", max_threshold="0", action_json=stop),
            _configuration("none", rule_to_invoke="TensorVariance", max_threshold="1e30", min_threshold="0"),
            *action_configurations(["tensor_variance=webhook:http://localhost/a"]),
        ]
    )
    assert [r.max_threshold for r in asked.rules if r.name == "tensor_variance"] == [0, 1e30]  # type: ignore[attr-defined]
    spoke = {f.configuration for f in evaluate(exploded, asked.rules).findings if f.rule == "tensor_variance"}
    assert spoke == {"all"}
    assert [a.name for a in asked.actions_of(_finding("tensor_variance", "all"))] == ["stop", "webhook"]
    assert [a.name for a in asked.actions_of(_finding("tensor_variance", "none"))] == ["webhook"]
    with pytest.raises(UsageError, match=r"Two configurations are called 'all'(.|\n)*allowed: a RuleConfigurationName"):
        RulesOfJob.of(
            [_configuration("all", rule_to_invoke="Overfit"), _configuration("all", rule_to_invoke="AllZero")]
        )


def test_a_rule_of_a_file_that_is_gone_silences_no_other(exploded: Path) -> None:
    asked = RulesOfJob.of([_configuration("mine", rule_to_invoke="Mine", source_s3_uri="/nowhere/rules.py")])
    custom, broken = asked.custom(exploded)
    evaluation = Evaluation(exploded, asked.rules, custom=custom, broken=broken)
    assert "exploding_tensor" in {f.rule for f in evaluation.look(over=True)}
    assert list(evaluation.newly_broken()) == ["mine"]
    assert "There is no file '/nowhere/rules.py'" in evaluation.broken["mine"]
    assert not evaluation.newly_broken(), "it is told once"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_used_or_is_said_to_be_without_effect(name: str) -> None:
    """A parameter is read by the default condition, or its rule asks AWS's where that reads it, or it is told."""
    kind = rule_class(name)
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    aws, other = "", ""
    for part in tree.body[0].body:  # type: ignore[attr-defined]
        if isinstance(part, ast.FunctionDef) and part.name == "look_aws":
            aws += ast.unparse(part)
        elif isinstance(part, ast.FunctionDef):
            other += ast.unparse(part)
    for parameter in kind.parameters():
        by_choice = ".chosen(" if parameter in ("collection_names", "tensor_regex") else "\0"

        def reads(text: str, parameter: str = parameter, by_choice: str = by_choice) -> bool:
            return f"self.{parameter}" in text or by_choice in text or f"'{parameter}'" in text

        if parameter in kind.without_effect:
            assert parameter not in kind.only_aws
        elif parameter in kind.only_aws:
            assert reads(aws) or (reads(other) and "self._" in aws), f"{name}.{parameter} is read by nothing"
        elif parameter != "stop_training_on_fire":  # configuration.py makes an action of it
            assert reads(other), f"{name}.{parameter} is read by AWS's condition alone"


def test_a_parameter_of_awss_asks_awss_condition(exploded: Path) -> None:
    asked = RulesOfJob.of(
        [
            _configuration("updates", rule_to_invoke="WeightUpdateRatio", large_threshold="0.000001"),
            _configuration("classes", rule_to_invoke="ClassImbalance", labels_regex="y.*"),
        ]
    )
    evaluation = evaluate(exploded, asked.rules)
    assert "updates" in {finding.configuration for finding in evaluation.findings}
    assert evaluation.remarks == [
        "classes: labels_regex would change nothing here: what AWS's rule finds by it is seen without"
    ]


def test_a_documents_rules_parameters_and_actions() -> None:
    asked = RulesOfJob.of(
        [
            {
                "RuleConfigurationName": "LowGradients",
                "RuleParameters": {
                    "rule_to_invoke": "VanishingGradient",
                    "threshold": "0.5",
                    "action_json": '[{"name": "stoptraining"}, {"name": "email", "endpoint": "a@b.c"}]',
                },
            },
            {
                "RuleConfigurationName": "Still",
                "RuleParameters": {"rule_to_invoke": "StalledTrainingRule", "stop_training_on_fire": "True"},
            },
            {"RuleConfigurationName": "Trees", "RuleParameters": {"rule_to_invoke": "TreeDepth"}},
            {
                "RuleConfigurationName": "t",
                "RuleParameters": {"rule_to_invoke": "tensor_variance", "max_threshold": "2"},
            },
        ]
    )
    rules = {rule.name: rule for rule in asked.rules}
    assert rules["vanishing_gradient"].threshold == 0.5  # type: ignore[attr-defined]
    assert rules["tensor_variance"].max_threshold == 2.0  # type: ignore[attr-defined]
    assert len(rules) == len(default_rules()) + 1
    assert [a.name for a in asked.actions_of(_finding("vanishing_gradient", "LowGradients"))] == ["stop", "email"]
    assert asked.actions_of(_finding("overfit")) == []
    assert [a.name for a in asked.actions_of(_finding("stalled_training", "Still"))] == ["stop"]
    threshold = {"rule_to_invoke": "VanishingGradient", "threshold": "0.5"}
    again = RulesOfJob.of(
        [
            {"RuleConfigurationName": "v", "RuleParameters": threshold},
            *action_configurations(["vanishing_gradient=stop"]),
        ]
    )
    (kept,) = (rule for rule in again.rules if rule.name == "vanishing_gradient")
    assert kept.threshold == 0.5  # type: ignore[attr-defined]  # an action alone leaves the parameters as they are
    assert asked.not_applicable == {"Trees": "not applicable: it looks at text or at trees"}


def test_a_rule_that_fails_itself_silences_no_other(exploded: Path) -> None:
    class Broken(Rule):
        def invoke_at_step(self, step: int) -> bool:
            return 1 / 0 > 0

    evaluation = evaluate(exploded, custom=[Broken(Trial(exploded))])
    assert evaluation.broken == {"Broken": "ZeroDivisionError: division by zero"}
    assert "exploding_tensor" in {f.rule for f in evaluation.findings}


def test_a_rule_that_asks_for_what_a_step_has_not_is_asked_again(exploded: Path) -> None:
    class Rare(Rule):
        asked = 0

        def invoke_at_step(self, step: int) -> bool:
            self.asked += 1
            if self.asked < 3:
                raise TensorUnavailableForStep("gradient/weight", step)
            return True

    evaluation = evaluate(exploded, custom=[Rare(Trial(exploded))])
    assert evaluation.broken == {}
    assert "Rare" in {f.rule for f in evaluation.findings}


def test_two_runs_with_the_same_numbers(exploded: Path) -> None:
    rule = rule_class("similar_across_runs").of({"other_trials": str(exploded)})
    (finding,) = evaluate(exploded, [rule]).findings
    assert "values are those of" in finding.message


def test_a_training_that_stands_still(exploded: Path) -> None:
    history = evaluate(exploded, []).history
    rule: Any = rule_class("stalled_training").of({})
    assert list(rule.look_at(history, history.time + 120)) == []  # an export, or an evaluation that records nothing
    (finding,) = rule.look_at(history, history.time + 2000)
    assert "Nothing was recorded for 2000 seconds" in finding.message
    patient: Any = rule_class("stalled_training").of({"threshold": "3000"})
    assert list(patient.look_at(history, history.time + 2000)) == []
