"""What a client may take of a server: sizes, seconds, rates, connections."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

    from ..config import Gate, Network

IPV6_PREFIX = 64
"""Bits of an IPv6 address that say who it is: a customer gets a /64 at least (RFC 6177), each host many addresses."""
RESERVED_DESCRIPTORS = 64
"""For the store, logs, listening sockets and what else a process has open."""
DESCRIPTORS_PER_CONNECTION = 2
"""The client's, and one to an upstream."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times are seconds, sizes bytes.

    A request's head has `header_timeout` from its first byte, a body `body_timeout` as a whole, during which
    `min_rate` bytes a second have to come on average of each `header_timeout`. A client that takes less than
    `min_rate` of an answer that waits for it, over `send_timeout`, is gone. What idles for `keep_alive` closes.

    At most `max_connections` are open at once, of them `max_per_address` from one IPv4 address or one IPv6
    network of 64 bits, which does not hold for the networks in `exempt`: those of proxies.
    """

    max_header: int = 65_536
    header_timeout: float = 10.0
    body_timeout: float = 300.0
    send_timeout: float = 30.0
    min_rate: int = 240
    keep_alive: float = 75.0
    max_connections: int = 10_000
    max_per_address: int = sys.maxsize
    exempt: tuple[Network, ...] = ()

    @classmethod
    def of_gate(cls, gate: Gate, *, descriptors: int | None = None, addresses: int = 1) -> ConnectionLimits:
        """Those of [gate] in gate.toml, for one of so many `addresses` of a process with so many `descriptors`."""
        most = gate.max_connections
        if descriptors is not None:
            most = min(most, servable(descriptors) // addresses)
        of_one = gate.max_connections_per_address
        return cls(
            max_header=gate.max_header,
            header_timeout=gate.header_timeout,
            body_timeout=gate.body_timeout,
            send_timeout=gate.send_timeout,
            min_rate=gate.min_rate,
            keep_alive=gate.keep_alive,
            max_connections=most,
            max_per_address=max(1, most // 2) if of_one is None else of_one,
            exempt=gate.trusted_proxies,
        )

    @classmethod
    def of_uvicorn(cls, config: uvicorn.Config) -> ConnectionLimits:
        """Those that uvicorn's own options set, and our defaults for what it does not know."""
        return cls(
            keep_alive=config.timeout_keep_alive,
            max_connections=sys.maxsize if config.limit_concurrency is None else config.limit_concurrency,
        )

    def bounded(self, host: str) -> str | None:
        """Under which address connections from `host` are counted; None if they are not: loopback, proxies."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None  # a Unix socket
        plain = (
            getattr(address, "ipv4_mapped", None) or address
        )  # an IPv4 client at a socket for both families
        if plain.is_loopback or any(plain in net for net in self.exempt if net.version == plain.version):
            return None
        if plain.version == 4:
            return str(plain)
        return str(ipaddress.IPv6Network((plain, IPV6_PREFIX), strict=False))


def limits_of(config: uvicorn.Config) -> ConnectionLimits:
    """The limits of new connections to the server of `config`."""
    limits = getattr(config, "limits", None)
    return limits if isinstance(limits, ConnectionLimits) else ConnectionLimits.of_uvicorn(config)


def servable(descriptors: int) -> int:
    """How many connections a process with so many file descriptors can serve."""
    return max(1, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)
