"""Whether a data set or a model treats a group otherwise than the rest: SageMaker Clarify's metrics."""
