"""The AWS account that jobs are sent to: its clients, what a user says of it in a file, and its errors in words."""

from __future__ import annotations

import contextlib
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, UsageError
from vizsla.optional import require

VARIABLE = "VIZSLA_SAGEMAKER"
_KEYS = {
    "role": str,
    "bucket": str,
    "image": str,
    "fit_image": str,
    "serving_image": str,
    "currency": str,
    "prices": dict,
}
_FEATURE = "Jobs on SageMaker"
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "UnauthorizedSSOToken")


@dataclass(frozen=True)
class Account:
    """What the file that ``VIZSLA_SAGEMAKER`` names says; a job's own document may say it, too."""

    role: str | None = None
    """ARN of the role that jobs run as."""
    bucket: str | None = None
    """Bucket, and perhaps prefix, for code, data and results: ``my-bucket/vizsla``."""
    image: str | None = None
    """Registry address of the image that runs scripts."""
    fit_image: str | None = None
    """The one of the built-in training: ``packaging/docker/train.Dockerfile``."""
    serving_image: str | None = None
    """The one that answers in a batch transform."""
    currency: str = "USD"
    prices: Mapping[str, float] = field(default_factory=dict)
    """What an instance costs an hour, by its type."""

    @classmethod
    def read(cls) -> Account:
        """The account that the environment names; an empty one, where it names none.

        Raises
        ------
        UsageError
            When the file cannot be read.
        """
        place = os.environ.get(VARIABLE)
        if not place:
            return cls()
        try:
            values = tomllib.loads(Path(place).expanduser().read_text("utf-8"))
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"The account's file cannot be read: {error}.", where=f"{VARIABLE}={place}") from error
        for name, value in values.items():
            if name not in _KEYS or not isinstance(value, _KEYS[name]):
                raise UsageError(
                    f"{name!r} cannot be meant.",
                    where=place,
                    allowed=", ".join(key if kind is str else f"[{key}]" for key, kind in _KEYS.items())
                    + "; all but the prices are texts",
                )
        prices = dict(_prices(values.pop("prices", {})))
        for kind, price in prices.items():
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise UsageError(
                    f"The price of {kind!r} cannot be {price!r:.80}.",
                    where=place,
                    allowed='what an hour costs, such as "ml.g4dn.xlarge" = 0.736',
                )
        return cls(**values, prices=prices)

    def place(self) -> tuple[str, str]:
        """Bucket and prefix; the prefix ends in "/" unless it is empty.

        Raises
        ------
        UsageError
            When no bucket is named.
        """
        bucket, _, prefix = (self.bucket or "").removeprefix("s3://").partition("/")
        if not bucket:
            raise UsageError(
                "It is not said which bucket takes code, data and results.",
                where=VARIABLE,
                allowed='a TOML file with role = "arn:...", bucket = "my-bucket/vizsla", image = "..."',
            )
        return bucket, prefix.strip("/") + "/" if prefix.strip("/") else ""


def _prices(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """By the type, also where it is written without quotes: TOML takes its points for tables."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _prices(value, f"{above}{name}.")
        else:
            yield above + name, value


class Clients:
    """boto3's clients of one account, made when they are used. Credentials and region are those of boto3's chain."""

    def __init__(self) -> None:
        self._boto3 = require("boto3", extra="sagemaker", feature=_FEATURE)

    @cached_property
    def _session(self) -> Any:
        return self._boto3.Session()

    @cached_property
    def sagemaker(self) -> Any:
        """Of SageMaker."""
        with in_words():
            return self._session.client("sagemaker")

    @cached_property
    def s3(self) -> Any:
        """Of S3."""
        config = require("botocore.config", extra="sagemaker", feature=_FEATURE)
        with in_words():
            return self._session.client("s3", config=config.Config(max_pool_connections=32))

    @cached_property
    def logs(self) -> Any:
        """Of CloudWatch Logs."""
        with in_words():
            return self._session.client("logs")

    @property
    def region(self) -> str:
        """Where jobs run."""
        return str(self.sagemaker.meta.region_name)


def problems(operation: str, request: Mapping[str, Any]) -> list[str]:
    """What is wrong with a request, field by field, by the service's own model in botocore; needs no account."""
    session = require("botocore.session", extra="sagemaker", feature=_FEATURE).get_session()
    validate = require("botocore.validate", extra="sagemaker", feature=_FEATURE)
    shape = session.get_service_model("sagemaker").operation_model(operation).input_shape
    report = validate.ParamValidator().validate(request, shape)
    return str(report.generate_report()).splitlines() if report.has_errors() else []


def code_of(error: Exception) -> str:
    """The code in an answer of AWS; empty where it is none."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def in_words(job: str | None = None, resume: str | None = None) -> Iterator[None]:
    """Turn what AWS answers into words; ``resume`` is the command that goes on with the job.

    Raises
    ------
    JobError
        For everything that boto3 raises.
    """
    exceptions = require("botocore.exceptions", extra="sagemaker", feature=_FEATURE)
    boto3_exceptions = require("boto3.exceptions", extra="sagemaker", feature=_FEATURE)
    try:
        yield
    except (exceptions.ClientError, exceptions.BotoCoreError, boto3_exceptions.Boto3Error) as error:
        code = code_of(error)
        on = f"`{resume or f'vizsla jobs resume {job}'}` follows it again" if job else "try again"
        if code in _EXPIRED or "expired" in str(error).lower():
            what, do = "The AWS credentials have expired.", f"log in anew (such as `aws sso login`), then {on}"
        elif isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            what, do = f"There are no AWS credentials: {error}.", "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
        elif isinstance(error, exceptions.NoRegionError):
            what, do = "It is not said in which region of AWS.", "set AWS_DEFAULT_REGION"
        elif code in ("AccessDenied", "AccessDeniedException"):
            what, do = f"AWS refuses it: {error}.", "ask for this right, or use another profile"
        elif code == "ResourceInUse" or "already existing" in str(error):
            what = f"AWS has one of this name already, and gives no name twice: {error}."
            do = "choose another name; of a job that was removed here, or of somebody else's, the name is still in use"
        elif code == "ResourceLimitExceeded":
            what, do = f"The account's limit is reached: {error}.", "ask AWS for a higher quota, or wait"
        else:
            what, do = f"AWS did not do it: {error}.", f"correct it, or {on}"
        if job and code in _EXPIRED:
            do += "; the job itself goes on at AWS"
        raise JobError(what, do=do) from error
