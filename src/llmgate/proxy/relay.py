"""The relay: an ASGI app that passes requests to an upstream and answers back, byte for byte, as they come."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import BadRequest, ClientGone, NotFound, Refusal, answer
from ..exchange import exchange_of, too_large
from .engine_control import REFUSED, controls_engine
from .engines.base import UpstreamRequest
from .headers import forwarded_headers, request_headers
from .streaming import DisconnectWatcher, ProxiedRequest, Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Receive, Scope, Send

    from ..errors import Header
    from ..exchange import Exchange
    from .upstreams import Upstream

AMBIGUOUS = re.compile(rb"%2f|%5c|%00|[\\\x00]|/(?:\.|%2e){1,2}(?:[/;]|$)", re.IGNORECASE)
"""Paths that servers read in different ways: what a route names must be what the upstream serves."""

NOT_RELAYED = frozenset({"CONNECT", "TRACE"})
"""One asks for a tunnel, the other would show the upstream's key to the caller (RFC 9110 9.3.6, 9.3.8)."""

PATHS = 32
"""How many paths of a route are remembered as judged: an API has few, and somebody may send many."""


class Relay:
    """Passes requests to `upstream`: method, path, query, end-to-end headers and body as they are.

    `strip_prefix` is taken off the path and `upstream_path` put in its place. With `forwarded` the upstream is
    told about the client by X-Forwarded headers; with `own_request_id` it gets the exchange's id as X-Request-ID,
    whatever the client has sent. A body over `max_body` bytes is refused, or broken off where
    its length is only seen as it comes. Raises `AnswerCut` where an answer breaks off.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        strip_prefix: str = "",
        upstream_path: str = "",
        forwarded: bool = False,
        own_request_id: bool = False,
        max_body: int = sys.maxsize,
    ) -> None:
        self._upstream = upstream
        self._strip_prefix = strip_prefix.rstrip("/").encode("ascii")
        self._upstream_path = upstream_path.rstrip("/").encode("ascii")
        self._forwarded = forwarded
        self._own_request_id = own_request_id
        self._max_body = max_body
        self._watch = DisconnectWatcher()
        self._upstream_path_of = lru_cache(PATHS)(self._judged)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request. WebSockets are refused."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "only HTTP is relayed"})
            return
        exchange = exchange_of(scope)
        upstream = self._upstream
        exchange.upstream = upstream.name
        try:
            # No variable here holds the request or its body: this call lasts as long as the answer.
            await ProxiedRequest(exchange, receive, send).run(
                upstream, self._request(scope, exchange, receive, await receive()), self._watch
            )
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            return

    def _request(self, scope: Scope, exchange: Exchange, receive: Receive, first: Message) -> UpstreamRequest:
        if first["type"] == "http.disconnect":
            raise ClientGone
        method: str = scope["method"]
        if method in NOT_RELAYED:
            raise BadRequest(f"{method} is not relayed.", status=405)
        came = scope["headers"]
        body, length = self._body(came, receive, first)
        headers = request_headers(
            came,
            request_id=exchange.id,
            credential=self._upstream.credential,
            put=self._put(scope, exchange),
        )
        target = self._upstream_path_of(scope.get("raw_path") or quote(scope["path"]).encode("ascii"))
        if query := scope["query_string"]:
            target += b"?" + query
        return UpstreamRequest(method, target, headers, body, length)

    def _body(
        self, headers: Iterable[Header], receive: Receive, first: Message
    ) -> tuple[bytes | Upload, int | None]:
        """The body of a request whose first message is `first`; its length, if it is not whole but announced."""
        if first.get("more_body", False):
            length = next((int(value) for name, value in headers if name == b"content-length"), None)
            if length is not None and length > self._max_body:
                raise too_large(self._max_body)
            return Upload(first, receive, self._max_body), length
        whole: bytes = first.get("body", b"")
        if len(whole) > self._max_body:
            raise too_large(self._max_body)
        return whole, None

    def _put(self, scope: Scope, exchange: Exchange) -> list[Header]:
        """What goes up in place of whatever the client has sent under these names."""
        put: list[Header] = [*self._upstream.headers]
        if self._forwarded:
            client = scope.get("client")
            put += forwarded_headers(scope["headers"], client=client and client[0], scheme=scope["scheme"])
        if self._own_request_id:
            put.append((b"x-request-id", exchange.id.encode("ascii")))
        return put

    def _judged(self, path: bytes) -> bytes:
        """What `path` is upstream."""
        if AMBIGUOUS.search(path):
            raise BadRequest(
                "The path has dot segments, encoded slashes, backslashes or NUL; write it without them."
            )
        prefix = self._strip_prefix
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or rest[:1] not in (b"/", b""):
            raise BadRequest(f"The path does not start with {prefix.decode()} as written.")
        judged = self._upstream_path + rest or b"/"
        if controls_engine(judged):
            raise NotFound(REFUSED)
        return judged
