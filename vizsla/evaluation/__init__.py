"""How good a model is, with the uncertainty of every number."""

from vizsla.evaluation.constant import ConstantAnswer
from vizsla.evaluation.evaluate import ClassScore, Estimate, Evaluation, evaluate

__all__ = ["ClassScore", "ConstantAnswer", "Estimate", "Evaluation", "evaluate"]
