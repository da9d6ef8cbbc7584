"""The relay: an ASGI app that passes requests to an upstream and answers back, byte for byte, as they come."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import AnswerCut, BadRequest, Refusal, answer
from ..exchange import ClientGone, exchange_of, too_large
from .engine import UpstreamError, UpstreamRequest
from .headers import forwarded_headers, request_headers, response_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Message, Receive, Scope, Send

    from ..errors import Header
    from ..exchange import Exchange
    from .engine import UpstreamResponse
    from .upstreams import Lease, Upstream

logger = logging.getLogger("llmgate.proxy")

AMBIGUOUS = re.compile(rb"%2f|%5c|%00|[\\\x00]|/(?:\.|%2e){1,2}(?:[/;]|$)", re.IGNORECASE)
"""Paths that servers read in different ways: what a route names must be what the upstream serves."""

NOT_RELAYED = frozenset({"CONNECT", "TRACE"})
"""One asks for a tunnel, the other would show the upstream's key to the caller (RFC 9110 9.3.6, 9.3.8)."""

WATCH_AFTER = 0.02
"""Seconds after which a task waits for the client to leave. Most short answers are done by then and never pay
for one; a client that leaves earlier is noticed when it starts."""


class Relay:
    """Passes requests to `upstream`: method, path, query, end-to-end headers and body as they are.

    `strip_prefix` is taken off the path and `upstream_path` put in its place. With `forwarded` the upstream is
    told about the client by X-Forwarded headers. A body over `max_body` bytes is refused, or broken off where
    its length is only seen as it comes. Raises `AnswerCut` where an answer breaks off.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        strip_prefix: str = "",
        upstream_path: str = "",
        forwarded: bool = False,
        max_body: int = sys.maxsize,
    ) -> None:
        self._upstream = upstream
        self._strip_prefix = strip_prefix.rstrip("/").encode("ascii")
        self._upstream_path = upstream_path.rstrip("/").encode("ascii")
        self._forwarded = forwarded
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay one request. WebSockets are refused."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "only HTTP is relayed"})
            return
        exchange = exchange_of(scope)
        exchange.upstream = self._upstream.name
        try:
            body = _Body(await receive(), receive, self._max_body)
            request = self._request(scope, exchange, body)
            await _Passage(exchange, body, receive, send).run(self._upstream, request)
        except Refusal as refusal:
            await answer(scope, send, refusal)
        except ClientGone:
            return

    def _request(self, scope: Scope, exchange: Exchange, body: _Body) -> UpstreamRequest:
        method: str = scope["method"]
        if method in NOT_RELAYED:
            raise BadRequest(f"{method} is not relayed.", status=405)
        came = scope["headers"]
        forwarded: list[Header] = []
        if self._forwarded:
            client = scope.get("client")
            forwarded = forwarded_headers(came, client=client and client[0], scheme=scope["scheme"])
        headers = request_headers(
            came, request_id=exchange.id, authorization=self._upstream.authorization, forwarded=forwarded
        )
        if body.whole is not None:
            return UpstreamRequest(method, self._target(scope), headers, body.whole)
        length = next((int(value) for name, value in came if name == b"content-length"), None)
        if length is not None and length > self._max_body:
            raise too_large(self._max_body)
        return UpstreamRequest(method, self._target(scope), headers, body, length)

    def _target(self, scope: Scope) -> bytes:
        path: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        if AMBIGUOUS.search(path):
            raise BadRequest(
                "The path has dot segments, encoded slashes, backslashes or NUL; write it without them."
            )
        prefix = self._strip_prefix
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or rest[:1] not in (b"/", b""):
            raise BadRequest(f"The path does not start with {prefix.decode()} as written.")
        query: bytes = scope["query_string"]
        target = self._upstream_path + rest or b"/"
        return target + b"?" + query if query else target


class _Body:
    """A request body: `whole` if its first message was its last, else to be iterated over once.

    Raises `ClientGone` where the client leaves before the end, `PayloadTooLarge` over `most` bytes.
    """

    __slots__ = ("_most", "_next", "_receive", "_size", "taken", "whole")

    def __init__(self, first: Message, receive: Receive, most: int) -> None:
        if first["type"] == "http.disconnect":
            raise ClientGone
        self._most = most
        self._size = 0
        self._next: Message | None = first
        self._receive = receive
        self.taken = not first.get("more_body", False)
        self.whole: bytes | None = self._counted(first) if self.taken else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.taken:
            raise StopAsyncIteration
        message, self._next = self._next, None
        if message is None:
            message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.taken = not message.get("more_body", False)
        return self._counted(message)

    def _counted(self, message: Message) -> bytes:
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > self._most:
            raise too_large(self._most)
        return piece


class _Passage:
    """One request under way, and the watch over its client.

    Waiting for the upstream is cancelled when the client leaves; `send` never is, since a layer above may be
    writing its books in there.
    """

    __slots__ = (
        "_body", "_exchange", "_gone", "_lease", "_receive", "_send", "_task", "_timer", "_waiting", "_watcher",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, body: _Body, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._body = body
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._lease: Lease | None = None
        self._gone = False
        self._waiting = True
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._start_watch)

    async def run(self, upstream: Upstream, request: UpstreamRequest) -> None:
        """Send `request`, forward the answer; returns early if the client leaves.

        Raises `Refusal` before the answer has begun, `AnswerCut` after.
        """
        try:
            self._lease = await upstream.send(request)
            self._waiting = False
            await self._forward(self._lease.response)
        except asyncio.CancelledError:
            if not self._gone or self._task is None or self._task.uncancel():
                raise  # not the watch but the server ends this request
        finally:
            self._timer.cancel()
            if self._watcher is not None:
                self._watcher.cancel()
            if self._lease is not None:
                self._lease.close()

    async def _forward(self, response: UpstreamResponse) -> None:
        status = response.status
        headers = response_headers(response.headers, status)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        more = True
        while more and not self._gone:
            self._waiting = True
            try:
                piece = await response.read()
            except UpstreamError as error:
                if self._gone:
                    return
                logger.warning(
                    "request %s, upstream %s: cut: %s", self._exchange.id, self._exchange.upstream, error
                )
                raise AnswerCut(str(error)) from error
            self._waiting = False
            more = not response.ended
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def _start_watch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._body.taken:
            self._watcher = loop.create_task(self._watch())
        else:  # the client still talks; whoever reads the body notices when it stops
            self._timer = loop.call_later(WATCH_AFTER, self._start_watch)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._waiting and self._task is not None:
            self._task.cancel()
        elif self._lease is not None:
            self._lease.close()
