"""The app that the gate was put around, in the relay's place: no connection, no second server, no copy."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..errors import AnswerCut, ClientGone, GateError, NotFound, UpstreamFailed, answer
from ..exchange import exchange_of
from .engine_control import REFUSED, controls_engine
from .headers import request_headers
from .masking import Masker

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .upstreams import Upstream

log = logging.getLogger("llmgate.proxy")

ORIGIN = "http://app.invalid"
"""What stands for the app where a URL is asked for: a name that no resolver knows (RFC 6761 6.4)."""
PAST_THE_GATE = frozenset(
    {"http.response.pathsend", "http.response.zerocopysend", "http.response.trailers", "http.response.debug"}
)
"""Extensions of ASGI by which an answer would go out uncounted and unmasked: the app is not offered them."""
FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""What an engine would write for a server elsewhere; here the request is still the one that came."""


class AsgiUpstream:
    """Hands requests to `app` by the relay's rules: the caller's credentials go, `upstream`'s own key comes in.

    `strip_prefix` is taken off the path and `upstream_path` put in its place. The answer passes untouched, but for
    the upstream's own key and headers (see `masking`), and the app itself hears from its server when the client
    leaves, or a moment later (`Exchange.drain`). An error that it lets out is 500, or cuts the answer that has begun;
    that it refuses the gate's own key is 502. It finds who is asking, as far as the gate knows, in
    `scope["llmgate"]`: an `Exchange`.
    """

    def __init__(
        self,
        app: ASGIApp,
        upstream: Upstream,
        *,
        strip_prefix: str = "",
        upstream_path: str = "",
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._timer = timer
        self._upstream = upstream
        self._strip_prefix = strip_prefix.rstrip("/")
        self._upstream_path = upstream_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        inner = self._scope(scope, exchange_of(scope).id)
        if controls_engine(inner["path"].encode()):
            await answer(scope, send, NotFound(REFUSED))
            return
        exchange = exchange_of(scope)
        exchange.upstream, exchange.sent = self._upstream.name, self._timer()
        replica = self._upstream.replicas[0]
        begun, key_refused = False, 0
        masker: Masker | None = None

        async def watched(message: Message) -> None:
            nonlocal begun, key_refused, masker
            if message["type"] == "http.response.start":
                status = message["status"]
                key_refused = status if self._upstream.refuses_own_key(replica, status) else 0
                begun = not key_refused
                headers, masker = Masker.of_answer(self._upstream.secrets, message.get("headers", ()))
                if masker is not None:
                    message = {**message, "headers": headers}
            elif masker is not None and message["type"] == "http.response.body":
                message = _masked(message, masker)
            if not key_refused:
                await send(message)

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.client_left = True
                await asyncio.sleep(exchange.drain)  # its count may come in a moment
            return message

        replica.in_flight += 1
        try:
            await self.app(inner, heard, watched)
        except (GateError, ClientGone):  # what a layer of the gate has raised from within `send` or `receive`
            raise
        except Exception as error:
            log.exception("request %s, upstream %s: the app failed", exchange.id, self._upstream.name)
            if begun:
                raise AnswerCut("the app failed in the middle of it") from error
            await answer(scope, send, UpstreamFailed("The app failed.", status=500))
        finally:
            replica.in_flight -= 1
        if key_refused:
            await answer(scope, send, self._upstream.key_refusal(key_refused))

    def _scope(self, scope: Scope, request_id: str) -> Scope:
        seen = scope["headers"]
        headers = [pair for pair in seen if pair[0] in FRAMING]
        own = self._upstream
        headers += request_headers(
            seen, request_id=request_id, credential=own.credential, put=own.headers, plain=bool(own.secrets)
        )
        # The parameters are of the gate's table: the app finds its own.
        inner = {**scope, "headers": headers, "path_params": {}}
        if extensions := scope.get("extensions"):
            offered = {name: value for name, value in extensions.items() if name not in PAST_THE_GATE}
            inner["extensions"] = offered
        if self._strip_prefix != self._upstream_path:
            path = self._upstream_path + scope["path"].removeprefix(self._strip_prefix) or "/"
            inner |= {"path": path, "raw_path": quote(path).encode("ascii")}
        return inner


def _masked(message: Message, masker: Masker) -> Message:
    piece = masker.feed(message.get("body", b""))
    if not message.get("more_body", False):
        piece += masker.flush()
    return {**message, "body": piece}
