"""Connecting to a name: its addresses in turn, none of which may keep the others waiting (RFC 8305)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import TypeVar

T = TypeVar("T")

ATTEMPT_DELAY_S = 0.25
"""After so long without an answer the next address is tried beside it (RFC 8305 5)."""


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """The IP addresses of `host`, the families in turn, the system's first one first. Raises `OSError`."""
    if is_address(host):
        return [host]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    return alternating(list(addresses))


def is_address(host: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def alternating(addresses: Sequence[str]) -> list[str]:
    """IPv4 and IPv6 addresses in turn, beginning with the kind of the first; each kind keeps its order."""
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    other = [address for address in addresses if address not in first]
    pairs = zip_longest(first, other)
    return [address for pair in pairs for address in pair if address is not None]


async def first_to_succeed(
    attempt: Callable[[str], Awaitable[T]],
    addresses: Sequence[str],
    *,
    discard: Callable[[T], object],
    delay: float = ATTEMPT_DELAY_S,
) -> T:
    """What the first `attempt` that succeeds has made of its address.

    The next is begun as soon as one has failed, or when none has come to an end for `delay` seconds. What the
    others make is given to `discard`. Raises the last `OSError` if all fail.
    """
    if len(addresses) == 1:
        return await attempt(addresses[0])
    left = list(reversed(addresses))
    running: set[asyncio.Future[T]] = set()
    failure: BaseException = OSError("the name has no address")
    try:
        while left or running:
            if left:
                running.add(asyncio.ensure_future(attempt(left.pop())))
            done, running = await asyncio.wait(
                running, timeout=delay if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            made = [each.result() for each in done if (error := each.exception()) is None]
            for surplus in made[1:]:
                discard(surplus)
            if made:
                return made[0]
            failure = next((error for each in done if (error := each.exception())), failure)
            if not isinstance(failure, OSError):
                break
        raise failure
    finally:
        for each in running:
            each.cancel()
        for ended in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(ended, BaseException):
                discard(ended)
