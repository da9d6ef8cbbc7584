"""One request to an operation, as its handler gets it, and what the handler may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from typing_extensions import TypeVar

from ..exchange import exchange_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from ..errors import Header
    from ..exchange import Exchange, Principal
    from .cookies import Cookie

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
EVENTS: Final = "text/event-stream"
ANY: Final = "*/*"
"""Of a body: whatever its media type says, it is read as the first of the others."""

BodyT_co = TypeVar("BodyT_co", covariant=True, default=None)
QueryT_co = TypeVar("QueryT_co", covariant=True, default=None)
AccessT_co = TypeVar("AccessT_co", covariant=True, default=None)


class Reply(NamedTuple):
    """An answer that is more than a value with the usual status. `value` None sends no body."""

    value: object
    status: int
    headers: Sequence[Header] = ()
    cookies: Sequence[Cookie] = ()


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT_co, QueryT_co, AccessT_co]):
    """One request to an operation: `Call[Body, Query, Access]`, each None where the operation declares none.

    `body` and `query` are of the types that the operation declares, `access` is what its `access` returned.
    """

    scope: Scope
    exchange: Exchange
    path: Mapping[str, str]
    body: BodyT_co
    query: QueryT_co
    access: AccessT_co
    receive: Receive
    """Tells, once the body has been read, when the client leaves: for `Upstream.complete`."""

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Call:
        """The call of a request that an operation's `app` answers, whose body nobody has read."""
        return Call(scope, exchange_of(scope), scope.get("path_params", {}), None, None, None, receive)

    @property
    def principal(self) -> Principal:
        """Who calls. Only operations that require a credential may ask."""
        assert self.exchange.principal is not None, "this operation does not require a credential"
        return self.exchange.principal

    @property
    def client(self) -> str | None:
        """The address of the client, as trusted proxies tell it; None behind a Unix socket."""
        client = self.scope.get("client")
        return client[0] if client else None

    def header(self, name: str) -> str | None:
        """The value of a request header, by its lower-case name."""
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), None)


AnyCall = Call[Any, Any, Any]
"""A call, whatever it carries."""


@dataclass(frozen=True, slots=True)
class Media:
    """An answer that is of no type of the gate's: what a model says, a stream. `types` are its media types."""

    types: Sequence[str]
