"""Who the client is, where proxies of one's own stand in front of the gate."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from ..exchange import StackLayer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_HOP = re.compile(
    r"\[(?P<bracketed>[0-9a-fA-F:.]+)\](?::\d+)?|(?P<plain>[\d.]+)(?::\d+)?|(?P<ipv6>[0-9a-fA-F:.]+)"
)
"""`192.0.2.7`, `192.0.2.7:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443` (Azure's gateways write ports)."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProxyHeaders(StackLayer):
    """Takes the client's address from X-Forwarded-For: the last one that none of the `trusted` networks has.

    What stands further left was written by somebody whom nobody vouches for. Ports that some proxies write are left
    out. With `unix_sockets`, whoever connects through one is trusted, too: it has no address.
    """

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network], unix_sockets: bool = False) -> None:
        self.app = app
        self._trusted = trusted
        self._unix_sockets = unix_sockets

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Not a coroutine of its own: every request passes here."""
        client = scope.get("client")
        if self._trusts(client[0]) if client and client[0] else self._unix_sockets:
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
            address = _HOP.fullmatch(hop)
            if address is None:
                return
            named = address["bracketed"] or address["plain"] or address["ipv6"]
            try:
                ipaddress.ip_address(named)
            except ValueError:
                return
            scope["client"] = (named, 0)
            if not self._trusts(named):
                return

    def _trusts(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        plain = getattr(ip, "ipv4_mapped", None) or ip  # how a socket for both families shows an IPv4 client
        return any(plain in network for network in self._trusted if network.version == plain.version)
