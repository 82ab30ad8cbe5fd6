"""What reading a trial may raise."""


class SMDebugError(Exception):
    """Any of the below."""


class TensorUnavailable(SMDebugError):
    """No tensor of this name was recorded."""

    def __init__(self, tname: str) -> None:
        super().__init__(f"Tensor {tname} was not recorded")


class TensorUnavailableForStep(SMDebugError):
    """The tensor was recorded, but not at this step."""

    def __init__(self, tname: str, step: int, mode: object = None, has_reductions: bool = False) -> None:
        hint = "; only numbers about it were: ask for reduction_value" if has_reductions else ""
        super().__init__(f"Tensor {tname} was not recorded at step {step} of {mode}{hint}")


class StepUnavailable(SMDebugError):
    """Nothing was recorded at this step."""

    def __init__(self, step: int, mode: object = None) -> None:
        super().__init__(f"Step {step} of {mode} was not recorded")


class StepNotYetAvailable(StepUnavailable):
    """The training has not come to this step yet."""


class NoMoreData(SMDebugError):
    """The training has ended."""


class MissingCollectionFiles(SMDebugError):
    """Nothing was recorded at all."""


class IndexReaderException(SMDebugError):
    """The records cannot be read."""


class InvalidWorker(SMDebugError):
    """There is no worker of this name."""


class RuleEvaluationConditionMet(SMDebugError):
    """A rule found what it looks for."""

    def __init__(self, rule_name: str, step: int, end_of_rule: bool = False) -> None:
        super().__init__(f"Evaluation of the rule {rule_name} at step {step} resulted in the condition being met")
