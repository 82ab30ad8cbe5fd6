"""Running a rule over a trial."""

from __future__ import annotations

from smdebug.core.modes import ModeKeys
from smdebug.exceptions import (
    NoMoreData,
    RuleEvaluationConditionMet,
    StepUnavailable,
    TensorUnavailable,
    TensorUnavailableForStep,
)
from smdebug.rules.rule import Rule
from smdebug.trials.tensor import StepState


def invoke_rule(
    rule_obj: Rule, start_step: int = 0, end_step: int | None = None, raise_eval_cond: bool = False
) -> None:
    """Show the rule every recorded step until the training has ended.

    Raises
    ------
    RuleEvaluationConditionMet
        When the condition is met and ``raise_eval_cond`` asks for it.
    """
    step = start_step
    while end_step is None or step < end_step:
        trial = rule_obj.base_trial
        known = trial.steps()
        if trial.loaded_all_steps and (not known or step > known[-1]):
            return
        try:
            if not trial.loaded_all_steps:
                trial.wait_for_steps([step])
            available = trial.has_passed_step(step, ModeKeys.GLOBAL) is StepState.AVAILABLE
            is_met = available and rule_obj.invoke(step)
        except NoMoreData:
            return
        except (TensorUnavailable, TensorUnavailableForStep, StepUnavailable):
            is_met = False  # what it asks for is not recorded in every step
        if is_met:
            if raise_eval_cond:
                raise RuleEvaluationConditionMet(rule_obj.rule_name, step)
            print(f"{rule_obj.rule_name}: the condition is met at step {step}", flush=True)
        step += 1
