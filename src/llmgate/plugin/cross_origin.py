"""What pages of other origins may do: nothing by themselves, what `Cors` allows otherwise.

A browser sends requests of any page to any server, with the server's cookies, and to servers that only the
browser's machine can reach. So a request that changes something is refused where the browser says that
another origin's page has made it. The rule is that of Go's `http.CrossOriginProtection` (pkg.go.dev/net/http):
`Sec-Fetch-Site` decides where it is there, else `Origin` has to name the host that was asked; who sends neither
is no browser.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ..errors import Forbidden, MethodNotAllowed, answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""

OWN_SITES = frozenset({"same-origin", "none"})
"""Of `Sec-Fetch-Site`; "none": its user has typed the address."""

PREFLIGHT_MAX_AGE_S = 600


@dataclass(frozen=True, slots=True)
class Cors:
    """Origins (`https://app.example.com`) whose pages may call a surface (https://fetch.spec.whatwg.org/#http-cors-protocol).

    `credentials` lets them send cookies. `exposed` are headers of answers that they may read. Any method and
    any header may be used; a page of any other origin is told nothing.
    """

    origins: Sequence[str]
    credentials: bool = True
    exposed: Sequence[str] = ()

    def __post_init__(self) -> None:
        if wrong := [origin for origin in self.origins if _origin(origin) != origin]:
            raise ValueError(f"an origin reads like https://app.example.com, found {', '.join(wrong)}")

    @property
    def middleware(self) -> Middleware:
        """Puts the headers on answers that browsers ask for, and answers what they ask first."""
        return Middleware(
            CORSMiddleware,
            allow_origins=self.origins,
            allow_methods=("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"),
            allow_headers=("*",),
            allow_credentials=self.credentials,
            expose_headers=self.exposed,
            max_age=PREFLIGHT_MAX_AGE_S,
        )


class NoOptions:
    """Behind CORS, on a route that has no OPTIONS of its own: what is no preflight is 405."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await answer(scope, send, MethodNotAllowed("OPTIONS is for browsers' preflights.", allowed=[]))
        else:
            await self.app(scope, receive, send)


class SameOrigin:
    """Refuses what other origins' pages send, with 403; those of `trusted` origins are let through.

    Requests with a method that changes nothing pass, as do those of programs that are no browsers. A WebSocket
    is held to the rule whatever it does: it is not bound by CORS.
    """

    def __init__(self, app: ASGIApp, *, trusted: Collection[str] = ()) -> None:
        self.app = app
        self._trusted = frozenset(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["method"] in SAFE_METHODS):
            await self.app(scope, receive, send)
        elif self._is_foreign(Headers(scope=scope)):
            refusal = Forbidden("This was sent by a page of another origin.", code="cross_origin")
            await answer(scope, send, refusal)
        else:
            await self.app(scope, receive, send)

    def _is_foreign(self, headers: Headers) -> bool:
        origins, sites = set(headers.getlist("origin")), set(headers.getlist("sec-fetch-site"))
        if origins and origins <= self._trusted:
            return False
        if sites:
            return not sites <= OWN_SITES
        host = headers.get("host", "").lower()
        own = {f"http://{host}", f"https://{host}"} if host else set()
        return not {origin.lower() for origin in origins} <= own


def _origin(text: str) -> str:
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""
