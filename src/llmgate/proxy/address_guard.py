"""Where the gate may connect to when it is not the operator who says so: never to itself, for example.

An address that users of the gate choose is a way to make the gate ask, in its own name, what they could not
ask themselves (server-side request forgery, CWE-918). Names are resolved here and the connection is made to
the very address that was judged, so that a name cannot change its meaning in between (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network
    Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

METADATA = tuple(
    map(
        ip_network,
        (
            "100.100.100.200/32",  # Alibaba Cloud
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle Cloud
            "fd00:ec2::254/128",  # AWS
            "fd20:ce::254/128",  # Google Cloud
            "fd00:42::42/128",  # Scaleway
        ),
    )
)
"""Where clouds tell a machine its secrets, as far as that is not link-local (169.254.169.254) anyway."""

_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)
_6TO4 = b"\x20\x02"


class AddressGuard:
    """Judges addresses. `own_ports` are those that the gate listens on; what is in `allowed` is always let through."""

    def __init__(
        self,
        *,
        own_ports: Collection[int] = (),
        allowed: Sequence[Network] = (),
        resolve: Resolve | None = None,
    ) -> None:
        self._own_ports = frozenset(own_ports)
        self._allowed = tuple(allowed)
        self._resolve = resolve or resolve_name

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The IP addresses of `host`, to be tried in this order.

        Raises `PermissionError`, which says why, if one of them is out of bounds, and `OSError` for an
        unknown name.
        """
        addresses = await self._resolve(host, port)
        for address in addresses:
            if (why := self.objection(address, port)) is not None:
                raise PermissionError(f"{address} is {why}")
        return addresses

    def objection(self, address: str, port: int) -> str | None:
        """What speaks against a connection to an IP address; None if nothing does."""
        ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self._allowed):
            return None
        if ip.is_link_local:
            return "a link-local address"
        if any(ip in network for network in METADATA):
            return "the metadata service of a cloud"
        if ip.is_unspecified or ip.is_multicast or (ip.version == 4 and ip.is_reserved):
            return "not the address of a server"
        if port in self._own_ports and _is_ours(ip):
            return "this gate itself"
        return None


async def resolve_name(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order in which the system would try them. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address leads to (RFC 4291 2.5.5, 6052, 3056), or `ip` itself."""
    packed = ip.packed
    if ip.version == 6 and packed[:12] in (_MAPPED, _NAT64, bytes(12)) and packed[12:] > b"\0\0\0\1":
        return IPv4Address(packed[12:])
    if ip.version == 6 and packed[:2] == _6TO4:
        return IPv4Address(packed[2:6])
    return ip


def _is_ours(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of this machine's: no other can be bound."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
