"""The endpoint: a saved model, or a thousand of them, behind SageMaker's HTTP contracts. Needs no torch."""
