"""A client's connection apart from what is said on it: backpressure, deadlines for what it takes, ways to end it."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from .client_clock import SendClock, drop, hurry

if TYPE_CHECKING:
    from .connections import Connections
    from .limits import ConnectionLimits


class ClientConnection(asyncio.Protocol):
    """`read_deadline` and `write_deadline` are on the loop's clock, infinite while nothing is due.

    `congested` says that the client is slow to take what was written, `reading` that it is read from.
    """

    __slots__ = (
        "_connections", "_ignoring", "_limits", "_send_clock", "_waiters", "congested", "counted_as", "loop",
        "read_deadline", "reading", "transport", "write_deadline",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connections: Connections, limits: ConnectionLimits
    ) -> None:
        self.loop = loop
        self.congested = False
        self.reading = True
        self.counted_as: str | None = None
        self.read_deadline = loop.time() + limits.header_timeout
        self.write_deadline = inf
        self._connections = connections
        self._limits = limits
        self._send_clock = SendClock(limits)
        self._waiters: list[asyncio.Future[None]] = []
        self._ignoring = False  # what comes is not listened to any more

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = True
        self._expect_taking()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = False
        if not self._ignoring:
            self.write_deadline = inf
        self.notify()

    def write_timed_out(self, now: float) -> None:
        """End it, unless the client does take something."""
        deadline = self._send_clock.check(now, self.transport)
        if deadline is None:
            self._connections.ended["timed_out"] += not self._ignoring
            drop(self.transport)
        else:
            self.write_deadline = deadline

    def evict(self) -> None:
        """Make room: it has no request."""
        drop(self.transport)

    async def changed(self) -> None:
        """Wait until something has come, can be written, or has ended; whoever waits looks what it was."""
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def notify(self) -> None:
        """There is something new."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _read_while(self, wanted: bool) -> None:
        if wanted is not self.reading and not self.transport.is_closing():
            self.reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _expect_taking(self) -> None:
        """What was written is to be taken from now on."""
        self.write_deadline = self._send_clock.begin(self.loop.time(), self.transport)

    def _linger(self) -> None:
        """Take what still comes for a while: closing at once could lose the answer on its way."""
        self._ignoring = True
        if self.transport.can_write_eof():  # not with TLS
            self.transport.write_eof()
        self._read_while(True)
        self.read_deadline = self.loop.time() + self._limits.header_timeout

    def _close(self) -> None:
        """Close once what was written has been taken, for which the client has its time."""
        self._ignoring = True
        self.read_deadline = inf
        self._expect_taking()
        hurry(self.transport, self._limits.send_timeout)
        self.transport.close()
