"""The endpoint: a saved model, or a thousand of them, behind SageMaker's HTTP contracts. Needs no torch."""

from vizsla.optional import require


def check_installed() -> None:
    """That the packages of the extra ``serve`` are there.

    Raises
    ------
    MissingExtraError
        When one is not.
    """
    for module in ("uvicorn", "httptools", "uvloop", "starlette", "prometheus_client", "python_multipart"):
        require(module, extra="serve", feature="vizsla serve")
