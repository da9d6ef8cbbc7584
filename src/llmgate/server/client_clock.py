"""How long a client may take: for a body that it sends, and for an answer that waits for it.

Both are measured over windows, in which `min_rate` bytes a second have to come or go on average: no timer is
touched for a piece, and a client that sends or takes a byte now and then keeps nothing for itself.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import termios
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .limits import ConnectionLimits


_RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: closing sends a reset."""


class BodyClock:
    """For the body that is being read. Times are seconds on the loop's clock."""

    __slots__ = ("_bytes_before", "_ends", "_excused", "_limits")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._ends = inf
        self._bytes_before = 0
        self._excused = False

    def begin(self, now: float, body_bytes: int) -> float:
        """A body is due, `body_bytes` having come of all so far. Returns when to `check`."""
        self._ends = now + self._limits.body_timeout
        return self._window(now, body_bytes)

    def excuse(self) -> None:
        """The client was not listened to: what it sends in this window says nothing about it."""
        self._excused = True

    def check(self, now: float, body_bytes: int, *, reading: bool) -> float | None:
        """When to check again; None if the client is too slow."""
        length = self._limits.header_timeout
        if self._excused or not reading:
            self._ends += length
        elif now >= self._ends or body_bytes - self._bytes_before < self._limits.min_rate * length:
            return None
        self._excused = not reading
        return self._window(now, body_bytes)

    def _window(self, now: float, body_bytes: int) -> float:
        self._bytes_before = body_bytes
        return min(now + self._limits.header_timeout, self._ends)


class SendClock:
    """For what was written and not taken."""

    __slots__ = ("_limits", "_unsent_before")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._unsent_before = 0

    def begin(self, now: float, transport: asyncio.Transport) -> float:
        """Something waits for the client. Returns when to `check`."""
        self._unsent_before = unsent(transport)
        return now + self._limits.send_timeout

    def check(self, now: float, transport: asyncio.Transport) -> float | None:
        """When to check again; None if the client takes too little."""
        least = min(self._limits.min_rate * self._limits.send_timeout, self._unsent_before)
        if self._unsent_before - unsent(transport) < max(least, 1):
            return None
        return self.begin(now, transport)


def unsent(transport: asyncio.Transport) -> int:
    """Bytes that the client has not acknowledged: those that wait here and, where it can tell, in the kernel.

    Without the kernel's, a large buffer that a slow client empties would look as if nothing moved.
    """
    sock: socket.socket | None = transport.get_extra_info("socket")
    in_kernel = array.array("i", [0])
    if sock is not None:
        try:
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, in_kernel)
        except OSError:  # this kind of socket, or this system, does not tell
            return transport.get_write_buffer_size()
    return transport.get_write_buffer_size() + in_kernel[0]


def reset(transport: asyncio.Transport) -> None:
    """Close at once, by a reset, which looks like no end; what the client has not taken is thrown away."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def drop(transport: asyncio.Transport) -> None:
    """Close at once. Of what its client has not taken, the kernel would keep megabytes for minutes: that is no end."""
    if unsent(transport):
        reset(transport)
    else:
        transport.abort()


def hurry(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel keep what was written for `seconds` at the most while its client takes nothing, closed or not."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):  # a Unix socket, which keeps nothing when it is closed
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
