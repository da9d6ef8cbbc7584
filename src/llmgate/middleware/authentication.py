"""Who is asking: proves the credential of a request and puts the principal into the exchange."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import Forbidden, Refusal, Unauthenticated, answer
from ..exchange import Principal, StackLayer, exchange_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..errors import Header
    from ..exchange import Exchange
    from ..permissions import Permissions

CREDENTIALS = ("bearer", "x-api-key", "api-key", "cookie")
_HEADER_OF = MappingProxyType(
    {"bearer": b"authorization", "x-api-key": b"x-api-key", "api-key": b"api-key", "cookie": b"cookie"}
)
COOKIE = b"access_token"


class Verifier(Protocol):
    """Knows one kind of credential: API keys, session tokens, or what a plugin brings."""

    def cached(self, secret: str) -> Principal | None:
        """The principal, if this credential was proven before and still holds; must not block."""

    async def verify(self, secret: str) -> Principal | None:
        """The principal. None if this is no credential of this kind; `Unauthenticated` if it is a bad one."""


class Authentication(StackLayer):
    """Refuses a request without a good credential.

    Missing: 401 if `required`. Bad: 401 always. Of a principal that has none of `roles`: 403.

    `credentials` names where a credential may stand: "bearer" (`Authorization: Bearer`, RFC 6750),
    "x-api-key", "api-key", "cookie" (`access_token`). Each place has one at the most (RFC 9110 5.3). Where
    several places have one, those that this gate has given out must all be good and belong to one user, and the
    one that names an API key counts; one that it has not, beside one that it has, is not the gate's to judge.
    A key must have `scope`, or none; with `session` keys are refused (403). What a key or its organization is held to
    (`Permissions`: addresses, routes) is 403, too. `on_use` is told the id of every key
    used. A WebSocket without a good credential is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verifiers: Sequence[Verifier],
        credentials: Collection[str] = ("bearer", "x-api-key", "api-key"),
        required: bool = True,
        roles: Iterable[str] = (),
        scope: str | None = None,
        session: bool = False,
        on_use: Callable[[int], None] | None = None,
    ) -> None:
        if unknown := set(credentials) - set(CREDENTIALS):
            raise ValueError(f"unknown credentials {sorted(unknown)}; known: {', '.join(CREDENTIALS)}")
        self.app = app
        self._verifiers = tuple(verifiers)
        self._places = frozenset(_HEADER_OF[name] for name in credentials)
        self._required = required
        self._roles = frozenset(roles)
        self._scope = scope
        self._session = session
        self._on_use = on_use

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI, without a coroutine of its own where the credential is known, as nearly every one is."""
        if scope["type"] not in ("http", "websocket"):
            return self.app(scope, receive, send)
        exchange = exchange_of(scope)
        try:
            secrets = self._secrets(scope)
            known = self._remembered(secrets[0]) if len(secrets) == 1 else None
            if known is None and secrets:
                return self._prove(secrets, exchange, scope, receive, send)
            if known is not None:
                exchange.principal = known
                if known.key_id is not None and self._on_use is not None:
                    self._on_use(known.key_id)
            self._judge(exchange, scope)
        except Refusal as refusal:
            return answer(scope, send, refusal)
        return self.app(scope, receive, send)

    async def _prove(
        self, secrets: Sequence[str], exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            exchange.principal = await self._principal(secrets) or exchange.principal
            self._judge(exchange, scope)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        await self.app(scope, receive, send)

    def _judge(self, exchange: Exchange, scope: Scope) -> None:
        """Whether who asks may ask here. Raises `Refusal`."""
        principal = exchange.principal
        self._authorize(principal)
        if principal is not None:
            if principal.key_may is not None:
                _hold(principal.key_may, "API key", scope, exchange.route)
            if principal.organization_may is not None:
                _hold(principal.organization_may, "organization of this API key", scope, exchange.route)
            if self._scope == "models" and principal.held_to_models:
                _refuse_unread(scope)

    async def _principal(self, secrets: Sequence[str]) -> Principal | None:
        found: Principal | None = None
        foreign: Unauthenticated | None = None
        for secret in secrets:
            try:
                principal = self._remembered(secret) or await self._verify(secret)
            except Unauthenticated as error:
                if not error.foreign:
                    raise
                foreign = error
                continue
            if found is not None and found.user_id != principal.user_id:
                raise Unauthenticated("The request carries credentials of two different users. Send one.")
            if found is None or principal.key_id is not None:
                found = principal
            if principal.key_id is not None and self._on_use is not None:
                self._on_use(principal.key_id)
        if found is None and foreign is not None:
            raise foreign
        return found

    def _remembered(self, secret: str) -> Principal | None:
        for verifier in self._verifiers:
            if (principal := verifier.cached(secret)) is not None:
                return principal
        return None

    async def _verify(self, secret: str) -> Principal:
        foreign = Unauthenticated("Incorrect API key or session token provided.", foreign=True)
        for verifier in self._verifiers:
            try:
                if (principal := await verifier.verify(secret)) is not None:
                    return principal
            except Unauthenticated as error:
                if not error.foreign:
                    raise
                foreign = error
        raise foreign

    def _secrets(self, scope: Scope) -> list[str]:
        places = self._places
        secrets: list[str] = []
        before: list[Header] = []
        for pair in scope["headers"]:
            name, value = pair
            if name not in places:
                continue
            before.append(pair)
            if len(before) > 1:
                _refuse_doubles(before)
            if name == b"cookie":
                secrets += _from_cookie(value)
                continue
            if name == b"authorization":
                if value[:7].lower() != b"bearer " or not value[7:].strip():
                    raise Unauthenticated("The Authorization header must read `Bearer` and a credential.")
                value = value[7:]
            secrets.append(value.strip().decode("latin-1"))
        return secrets

    def _authorize(self, principal: Principal | None) -> None:
        if principal is None:
            if self._required:
                raise Unauthenticated(
                    "No API key provided. Send it as `Authorization: Bearer KEY`.", code="missing_api_key"
                )
            return
        if self._roles and not self._roles & principal.roles:
            raise Forbidden(f"This needs the role {' or '.join(sorted(self._roles))}.")
        if self._session and principal.session_id is None:
            raise Forbidden("This needs a session: log in; an API key will not do.")
        if self._scope is not None and principal.scope not in (None, self._scope):
            raise Forbidden(f"This API key is for {principal.scope} alone.")


def _hold(may: Permissions, whose: str, scope: Scope, route: str) -> None:
    """What a key, or the organization that it belongs to, is held to. Raises `Forbidden`."""
    client = scope.get("client")
    address = client[0] if client else None
    if not may.allows_address(address):
        raise Forbidden(f"The {whose} may not be used from {address or 'here'}.", code="address_not_allowed")
    if not may.allows_route(route):
        raise Forbidden(f"The {whose} may not be used for {route}.", code="route_not_allowed")


def _refuse_unread(scope: Scope) -> None:
    """Who is held to models does nothing for which the gate cannot tell the model. Raises `Forbidden`."""
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return
    if endpoint_of(scope["method"], scope["path"]) is Endpoint.OTHER:
        what = f"{scope['method']} {scope['path']} names none that the gate reads"
        raise Forbidden(f"This API key is held to models, and {what}.", code="model_not_allowed")


def _refuse_doubles(carried: Iterable[Header]) -> None:
    names = [name for name, _ in carried if name != b"cookie"]
    for name in names:
        if names.count(name) > 1:
            raise Unauthenticated(f"The request has two {name.decode()} headers. Send one.")


def _from_cookie(header: bytes) -> Iterator[str]:
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == COOKIE and value:
            yield value.strip(b'"').decode("latin-1")
