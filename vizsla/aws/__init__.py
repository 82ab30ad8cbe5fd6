"""AWS's services as its clients speak to them, over what Vizsla has: jobs, endpoints, models, folders as buckets."""

from vizsla.optional import require


def check_installed() -> None:
    """That the packages of the extra ``aws`` are there which the server itself needs.

    Raises
    ------
    MissingExtraError
        When one is not.
    """
    for module in ("uvicorn", "httptools", "uvloop", "starlette"):
        require(module, extra="aws", feature="vizsla aws")
