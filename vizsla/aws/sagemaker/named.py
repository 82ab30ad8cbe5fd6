"""Things that are a name and what was said of them: created, described, listed and deleted alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.records import Records
from vizsla.aws.requests import checked_name, moment, now, page


@dataclass(frozen=True)
class Resource:
    """One kind of them.

    Examples
    --------
    >>> models = Resource("model", "Model", "model", "Models")
    >>> models.field
    'ModelName'
    """

    kind: str
    """In ARNs, and the folder of their documents."""
    member: str
    """What stands before ``Name`` and ``Arn`` in the members of requests and answers."""
    words: str
    """What a sentence calls one."""
    key: str
    """The member of a list's answer."""
    longest: int = 63
    """Letters of a name."""
    taken: str = 'Cannot create already existing {words} "{arn}".'
    """What is said of a name that is in use: clients match it."""
    missing: str = "ValidationException"
    """The code for a name that nothing has."""

    @property
    def field(self) -> str:
        """The member that is the name."""
        return f"{self.member}Name"

    def table(self, ctx: Context) -> Records:
        """The documents: requests as they came, with their time."""
        return Records(ctx.state / self.kind)

    def create(self, ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a new one.

        Raises
        ------
        AwsError
            When there is one of its name.
        """
        name = self.named_in(request)
        arn = ctx.arn(self.kind, name)
        if not self.table(ctx).create(name, request | {"CreationTime": now()}):
            raise invalid(self.taken.format(words=self.words, arn=arn))
        tags.keep(ctx, arn, request)
        return {f"{self.member}Arn": arn}

    def find(self, ctx: Context, name: str) -> dict[str, Any]:
        """The document of this name.

        Raises
        ------
        AwsError
            When there is none.
        """
        document = self.table(ctx).find(name)
        if document is None:
            raise self._missing(ctx, name)
        return document

    def _missing(self, ctx: Context, name: str) -> AwsError:
        return AwsError(self.missing, f'Could not find {self.words} "{ctx.arn(self.kind, name)}".')

    def describe(self, ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        """What was said of one."""
        document = self.find(ctx, self.named_in(request))
        return {name: value for name, value in document.items() if name != "Tags"} | self.row(ctx, document)

    def delete(self, ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        """Forget one."""
        name = self.named_in(request)
        if not self.table(ctx).remove(name):
            raise self._missing(ctx, name)
        return {}

    def list(self, ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
        """A page of all."""
        rows = (self.row(ctx, document) for document in self.table(ctx).all())
        return page(rows, request, key=self.key, name=self.field)

    def named_in(self, request: dict[str, Any]) -> str:
        """The name in a request.

        Raises
        ------
        AwsError
            When nothing can be called so.
        """
        return checked_name(request, self.field, self.longest)

    def row(self, ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
        """Name, ARN and times of one."""
        times = {"CreationTime": moment(document["CreationTime"])}
        if "LastModifiedTime" in document:
            times["LastModifiedTime"] = moment(document["LastModifiedTime"])
        return {
            self.field: document[self.field],
            f"{self.member}Arn": ctx.arn(self.kind, document[self.field]),
        } | times
