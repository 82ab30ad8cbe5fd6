"""The model registry: MLflow's, with SageMaker's words for groups, versions and approval."""
