"""The outermost app of one address: begins the exchange and finds the onion that a request goes into."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import Refusal
from ..exchange import Exchange, new_id
from .router import Table

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..config import Network


class Dispatcher:
    """The ASGI app of one address. `not_found` answers what the table does not know.

    `trusted_proxies` are believed when they name the client in X-Forwarded-For. `in_flight` counts the
    requests that are inside.
    """

    def __init__(
        self,
        table: Table,
        *,
        not_found: ASGIApp,
        trusted_proxies: Sequence[Network] = (),
        timer: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self.table = table
        self.in_flight = 0
        self._last_out: asyncio.Event | None = None
        self._nowhere = not_found
        self._trusted = trusted_proxies
        self._timer = timer
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        exchange = Exchange(self._new_id(), self._timer())
        scope["llmgate"] = exchange
        if self._trusted:
            _believe_proxies(scope, self._trusted)
        self.in_flight += 1
        try:
            await self._app(scope, exchange)(scope, receive, send)
        finally:
            self.in_flight -= 1
            if self._last_out is not None and not self.in_flight:
                self._last_out.set()

    async def drained(self) -> None:
        """Returns once nobody is inside; for an entrance that lets nobody in any more."""
        if self.in_flight:
            self._last_out = asyncio.Event()
            await self._last_out.wait()

    def _app(self, scope: Scope, exchange: Exchange) -> ASGIApp:
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


async def not_found(scope: Scope, *_: Receive | Send) -> None:
    """The app of a request that no route takes: raises what the table said."""
    raise scope["llmgate.refusal"]


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
    plain = getattr(ip, "ipv4_mapped", None) or ip  # how a socket for both families shows an IPv4 client
    return any(plain in network for network in trusted if network.version == plain.version)
