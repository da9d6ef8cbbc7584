"""All open connections of one server: their deadlines, who gives way when there are too many."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from .limits import ConnectionLimits

SWEEP_INTERVAL_S = 1.0
"""At most so long between two looks at the deadlines; a client's time is over at most that much late."""
_ATTRIBUTE = "llmgate_connections"


class Connection(Protocol):
    """What is watched. Deadlines are on the loop's clock, infinite where nothing is due."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    read_deadline: float
    write_deadline: float
    counted_as: str | None
    """The address that it is counted under; None for one that is not."""

    def evict(self) -> None:
        """Close at once: another one needs the place."""

    def read_timed_out(self, now: float) -> None:
        """The client has not sent what it owes by `read_deadline`."""

    def write_timed_out(self, now: float) -> None:
        """The client has not taken what was written by `write_deadline`."""


class Connections:
    """The open HTTP connections of a uvicorn server. One timer looks at all of their deadlines.

    `ended` counts what was closed for which reason: `evicted` to make room, `refused` where there was none,
    `timed_out` since its client was too slow.
    """

    def __init__(self, server_state: ServerState) -> None:
        self.ended: Counter[str] = Counter()
        self._server_state = server_state
        self._watched: set[Connection] = set()
        self._idle: OrderedDict[Connection, None] = (
            OrderedDict()
        )  # those without a request, the longest first
        self._addresses: Counter[str] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, server_state: ServerState) -> Self:
        """Those of the server that `server_state` belongs to: all protocols that it makes share them."""
        found = vars(server_state).get(_ATTRIBUTE)
        if not isinstance(found, cls):
            found = cls(server_state)
            setattr(server_state, _ATTRIBUTE, found)
        return found

    def opened(self, connection: Connection, limits: ConnectionLimits) -> bool:
        """Watch it from now on. False if it is one too many, even after the longest idle one has given way."""
        self._watched.add(connection)
        self._addresses[connection.counted_as or ""] += 1
        if self._sweeper is None:
            self._sweep(connection.loop, min(SWEEP_INTERVAL_S, limits.header_timeout / 4))
        full = len(self._server_state.connections) > limits.max_connections and not self._evict()
        crowd = connection.counted_as is not None and (
            self._addresses[connection.counted_as] > limits.max_per_address
        )
        if full or crowd:
            self.ended["refused"] += 1
            return False
        self.idle(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Its socket is gone, or somebody else's."""
        if connection in self._watched:
            self._watched.discard(connection)
            self._idle.pop(connection, None)
            address = connection.counted_as or ""
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def idle(self, connection: Connection) -> None:
        """It has no request that is being answered."""
        self._idle[connection] = None

    def busy(self, connection: Connection) -> None:
        """It has one."""
        self._idle.pop(connection, None)

    def _evict(self) -> bool:
        """Close the connection that has waited longest for its client. False if all are busy."""
        if not self._idle:
            return False
        longest, _ = self._idle.popitem(last=False)
        self.ended["evicted"] += 1
        self._server_state.connections.discard(longest)
        longest.evict()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        now = loop.time()
        for connection in tuple(self._watched):
            if connection.read_deadline <= now:
                connection.read_timed_out(now)
            if connection.write_deadline <= now:
                connection.write_timed_out(now)
        self._sweeper = loop.call_later(interval, self._sweep, loop, interval) if self._watched else None
