"""How good a model is, with the uncertainty of every number."""

from vizsla.evaluation.evaluate import ClassScore, Estimate, Evaluation, evaluate

__all__ = ["ClassScore", "Estimate", "Evaluation", "evaluate"]
