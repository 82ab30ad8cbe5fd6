"""SageMaker's control plane: one file a family of operations, gathered in :mod:`vizsla.aws.sagemaker.operations`."""
