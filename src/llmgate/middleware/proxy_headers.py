"""Who the client is, where proxies of one's own stand in front of the gate."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyHeaders:
    """Takes the client's address from X-Forwarded-For: the last one that none of the `trusted` networks has.

    What stands further left was written by somebody whom nobody vouches for.
    """

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network]) -> None:
        self.app = app
        self._trusted = trusted

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Not a coroutine of its own: every request passes here."""
        client = scope.get("client")
        if client and self._trusts(client[0]):
            self._believe(scope)
        return self.app(scope, receive, send)

    def _believe(self, scope: Scope) -> None:
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
            if not self._trusts(hop):
                return

    def _trusts(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        plain = getattr(ip, "ipv4_mapped", None) or ip  # how a socket for both families shows an IPv4 client
        return any(plain in network for network in self._trusted if network.version == plain.version)
