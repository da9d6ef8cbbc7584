"""The outermost layer: begins the exchange, finds the onion, and has the last word on every error."""

from __future__ import annotations

import ipaddress
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .errors import AnswerCut, Refusal, answer
from .exchange import Exchange
from .routing import Entry, Table

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .config import Network

log = logging.getLogger("llmgate")


class Entrance:
    """The ASGI app of one address. `nowhere` answers what the table does not know.

    A refusal that no layer answered is answered here; an unforeseen exception becomes a 500 without its
    text, or, once the answer has begun, a closed connection: nothing is ever appended to a begun answer.
    """

    def __init__(
        self,
        table: Table,
        *,
        nowhere: ASGIApp,
        trusted_proxies: Sequence[Network] = (),
        timer: Callable[[], float] = time.monotonic,
        new_id: Callable[[], object] = uuid.uuid4,
    ) -> None:
        self.table = table
        self.in_flight = 0
        self._nowhere = nowhere
        self._trusted = trusted_proxies
        self._timer = timer
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        exchange = Exchange(str(self._new_id()), self._timer())
        scope["llmgate"] = exchange
        if self._trusted:
            _believe_proxies(scope, self._trusted)
        self.in_flight += 1
        try:
            await self._enter(scope, exchange, receive, send)
        finally:
            self.in_flight -= 1

    async def _enter(self, scope: Scope, exchange: Exchange, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        app = self._app(scope, exchange)
        try:
            await app(scope, receive, watched)
        except AnswerCut:
            return  # an answer left unfinished: the server closes the connection
        except Refusal as refusal:
            if not begun:
                await answer(scope, watched, refusal)
        except Exception:
            log.exception("request %s failed", exchange.id)
            if not begun:
                await answer(scope, watched, Refusal("Something went wrong in the gate. Its log says what."))

    def _app(self, scope: Scope, exchange: Exchange) -> ASGIApp:
        entry: Entry
        try:
            entry, parameters = self.table.find(scope["method"], scope["path"])
        except Refusal as refusal:
            scope["llmgate.refusal"] = refusal
            return self._nowhere
        exchange.route = entry.route
        exchange.surface = entry.surface
        exchange.error_shape = entry.error_shape
        if parameters:
            scope["path_params"] = parameters
        return entry.app


async def nowhere(scope: Scope, _: Receive, send: Send) -> None:
    """Answers a request that no route takes."""
    await answer(scope, send, scope["llmgate.refusal"])


async def _decline(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "this gate speaks HTTP"})


def _believe_proxies(scope: Scope, trusted: Sequence[Network]) -> None:
    """Take the client's address from X-Forwarded-For: the last one that no trusted proxy of ours has."""
    client = scope.get("client")
    if not client or not _is_trusted(client[0], trusted):
        return
    hops = [
        hop.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for hop in value.decode("latin-1").split(",")
    ]
    for hop in reversed(hops):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return
        scope["client"] = (hop, 0)
        if not _is_trusted(hop, trusted):
            return


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in trusted if network.version == ip.version)
