"""The relay: an ASGI app that passes requests to an upstream and answers back, byte for byte, as they come."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import BadRequest, ClientGone, NotFound, Refusal, answer
from ..exchange import exchange_of, too_large
from .attempts import Attempts
from .early_stream import EarlyStream
from .engine_control import REFUSED, controls_engine
from .engines.base import UpstreamRequest
from .headers import forwarded_headers, request_headers
from .streaming import DisconnectWatcher, ProxiedRequest, Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import Message, Receive, Scope, Send

    from ..backends.catalog import Target
    from ..errors import Header
    from ..exchange import Exchange
    from .upstreams import Upstream

AMBIGUOUS = re.compile(rb"%(?:2f|5c|00|3f|23)|[\\\x00]|/(?:\.|%2e){1,2}(?:[/;]|$)", re.IGNORECASE)
"""Paths that servers read in different ways: what a route names must be what the upstream serves."""

NOT_RELAYED = frozenset({"CONNECT", "TRACE"})
"""One asks for a tunnel, the other would show the upstream's key to the caller (RFC 9110 9.3.6, 9.3.8)."""

PATHS = 32
"""How many paths of a route are remembered as judged: an API has few, and somebody may send many."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """An upstream and what requests to it look like.

    With `forwarded` it is told about the client by X-Forwarded headers; with `own_request_id` it gets the
    exchange's id as X-Request-ID, whatever the client has sent.
    """

    upstream: Upstream
    forwarded: bool = False
    own_request_id: bool = False


class Relay:
    """Passes requests to `upstream`: method, path, query, end-to-end headers and body as they are.

    `strip_prefix` is taken off the path and `upstream_path` put in its place. `forwarded` and `own_request_id` are
    those of `Outlet`. A body over `max_body` bytes is refused, or broken off where its length is only seen as it
    comes. Changes that the layers above have collected are written into it here (see `Exchange`). Where the exchange
    has targets, they are tried in their order until one answers, before the first byte; `others` has their upstreams
    by name. `via` is this gate's name in Via: a request that comes back is 508. Raises `AnswerCut` where an answer
    breaks off.
    """

    collects_edits = True

    def __init__(
        self,
        upstream: Upstream,
        *,
        strip_prefix: str = "",
        upstream_path: str = "",
        forwarded: bool = False,
        own_request_id: bool = False,
        others: Mapping[str, Outlet] = MappingProxyType({}),
        max_body: int = sys.maxsize,
        via: bytes = b"",
    ) -> None:
        self._outlet = Outlet(upstream, forwarded, own_request_id)
        self._others = others
        self._strip_prefix = strip_prefix.rstrip("/").encode("ascii")
        self._upstream_path = upstream_path.rstrip("/").encode("ascii")
        self._max_body = max_body
        self._via = via
        beats = [each.upstream.timeouts.heartbeat for each in (self._outlet, *others.values())]
        self._heartbeat = min((beat for beat in beats if beat is not None), default=None)
        self._watch = DisconnectWatcher()
        self._upstream_path_of = lru_cache(PATHS)(self._judged)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request. WebSockets are refused."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "only HTTP is relayed"})
            return
        exchange = exchange_of(scope)
        early = None if self._heartbeat is None else self._early(exchange, send)
        if early is not None:
            send = early
        try:
            # No variable here holds the request or its body: this call lasts as long as the answer.
            await ProxiedRequest(exchange, receive, send).run(
                self._attempts(scope, exchange, receive, await receive()), self._watch
            )
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            return
        finally:
            if early is not None:
                early.close()

    def _early(self, exchange: Exchange, send: Send) -> EarlyStream | None:
        """Who asked for a stream hears from us before the upstream does anything, where that is wanted."""
        if self._heartbeat is None or exchange.model_request is None or not exchange.model_request.stream:
            return None
        return EarlyStream(send, self._heartbeat, exchange.model_request.endpoint)

    def _attempts(self, scope: Scope, exchange: Exchange, receive: Receive, first: Message) -> Attempts:
        if first["type"] == "http.disconnect":
            raise ClientGone
        if scope["method"] in NOT_RELAYED:
            raise BadRequest(f"{scope['method']} is not relayed.", status=405)
        body, length = self._body(scope["headers"], receive, first)

        def request_for(target: Target | None) -> tuple[Upstream, UpstreamRequest]:
            outlet = self._outlet if target is None else self._others.get(target.upstream, self._outlet)
            model = "" if target is None else target.model
            exchange.upstream = outlet.upstream.name
            written = (
                exchange.written(body, outlet.upstream.dialect, model) if isinstance(body, bytes) else body
            )
            return outlet.upstream, self._request(scope, exchange, outlet, written, length)

        return Attempts(exchange, request_for, repeatable=isinstance(body, bytes))

    def _request(
        self,
        scope: Scope,
        exchange: Exchange,
        outlet: Outlet,
        body: bytes | Upload,
        length: int | None,
    ) -> UpstreamRequest:
        headers = request_headers(
            scope["headers"],
            request_id=exchange.id,
            credential=outlet.upstream.credential,
            put=_put(scope, exchange, outlet),
            via=self._via,
            plain=exchange.plain_answer or bool(outlet.upstream.secrets.spellings),
        )
        target = self._upstream_path_of(scope.get("raw_path") or quote(scope["path"]).encode("ascii"))
        if query := scope["query_string"]:
            target += b"?" + query
        return UpstreamRequest(scope["method"], target, headers, body, length)

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

    def _judged(self, path: bytes) -> bytes:
        """What `path` is upstream."""
        if AMBIGUOUS.search(path):
            raise BadRequest(
                "The path has dot segments, backslashes, NUL, or an encoded slash, question mark or hash; "
                "write it without them."
            )
        prefix = self._strip_prefix
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or rest[:1] not in (b"/", b""):
            raise BadRequest(f"The path does not start with {prefix.decode()} as written.")
        judged = self._upstream_path + rest or b"/"
        if controls_engine(judged):
            raise NotFound(REFUSED)
        return judged


def _put(scope: Scope, exchange: Exchange, outlet: Outlet) -> list[Header]:
    """What goes up in place of whatever the client has sent under these names."""
    put: list[Header] = [*outlet.upstream.headers]
    if outlet.forwarded:
        client = scope.get("client")
        put += forwarded_headers(scope["headers"], client=client and client[0], scheme=scope["scheme"])
    if outlet.own_request_id:
        put.append((b"x-request-id", exchange.id.encode("ascii")))
    return put
