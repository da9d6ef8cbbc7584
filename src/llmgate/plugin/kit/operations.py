"""The operations of a surface as a table: what they have in common is said once.

at = OperationTable("/api/v1", problem=Problem, credentials=("bearer",), parameters={"id": RowId})
keys = at.but("/api-keys", session=True)
operations = [
    at("GET /health", health, "Whether the service is up.", Health, credentials=()),
    keys("POST", create, "Make an API key.", {201: CreatedKey}, 403, body=NewKey),
    keys("DELETE /{id}", revoke, "Revoke an API key.", None, 404),
]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeVar

from ..api import Handler, OpenAIError, Operation

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BodyT = TypeVar("BodyT", default=None)
QueryT = TypeVar("QueryT", default=None)
AccessT = TypeVar("AccessT", default=None)

NONE: Mapping[str, Any] = MappingProxyType({})


class OperationTable:
    """Makes operations below `path`. `defaults` are fields of `Operation` for those that do not say otherwise.

    `problem` is the body type of refusals, `always` has answers that every operation may give. `follows` has the
    statuses of refusals that follow from what an operation says: by the field that it gives a value ("body") or
    by its method ("POST").
    """

    def __init__(
        self,
        path: str = "",
        *,
        problem: type[Any] = OpenAIError,
        always: Mapping[int, Any] = MappingProxyType({}),
        follows: Mapping[str, Sequence[int]] = NONE,
        **defaults: Any,
    ) -> None:
        self._path = path
        self._problem = problem
        self._always = always
        self._follows = follows
        self._defaults = defaults

    def but(self, path: str = "", **defaults: Any) -> OperationTable:
        """The table of operations further below, with other `defaults` on top of these."""
        return self.beside(self._path + path, **defaults)

    def beside(self, path: str, **defaults: Any) -> OperationTable:
        """The table of operations at `path` instead, with other `defaults` on top of these."""
        return OperationTable(
            path,
            problem=self._problem,
            always=self._always,
            follows=self._follows,
            **{**self._defaults, **defaults},
        )

    def __call__(
        self,
        request: str,
        handler: Handler[BodyT, QueryT, AccessT] | None,
        summary: str,
        answer: Any,
        *refusals: int,
        body: type[BodyT] | None = None,
        query: type[QueryT] | None = None,
        app: ASGIApp | None = None,
        **rest: Any,
    ) -> Operation[BodyT, QueryT, AccessT]:
        """The operation for `request`, a method and what comes behind the table's path: "GET /{id}".

        `answer` is the body type of success, with 200; None, with 204, for no body; or a mapping of statuses, of
        which the first is that of success. `refusals` are statuses besides those that follow by themselves; what
        else is said goes to `Operation`.
        """
        method, _, path = request.partition(" ")
        answers = answer if isinstance(answer, Mapping) else {204 if answer is None else 200: answer}
        own = {name: value for name, value in (("body", body), ("query", query)) if value is not None}
        given = {**self._defaults, **own, **rest}
        says = {method, *(name for name, value in given.items() if value)}
        statuses = [
            *refusals,
            *(each for name in self._follows if name in says for each in self._follows[name]),
        ]
        return Operation(
            method=method,
            path=self._path + path,
            handler=handler,
            app=app,
            summary=summary,
            answers={**answers, **dict.fromkeys(statuses, self._problem), **self._always},
            **given,
        )
