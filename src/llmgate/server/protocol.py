"""HTTP/1.1 (RFC 9112) as the gate serves it: one connection, its requests answered one after the other.

Nothing is spent on every request that only some need: no timer (one sweep looks at every deadline, see
`Connections`), no future unless somebody waits, one write for an answer that is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from ..errors import BadRequest, Refusal, Unavailable, openai_shape
from .reader import BODY, HEAD, NOTHING, Reader

if TYPE_CHECKING:
    from .connections import Connections
    from .cycle import Cycle

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: as long as nginx keeps it, longer than clients keep theirs."""
HIGH_WATER = 64 * 1024
"""Bytes of bodies that wait for their apps before the client is no longer read from."""
AHEAD = 8
"""Requests that wait behind the one that is answered before the client is no longer read from."""
FURTHEST_AHEAD = 256
"""Requests that may wait, since one read can have many; the connection of a client that sends more closes."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`max_header` in bytes; `patience` in seconds, for a whole head and for each piece of a body."""

    max_header: int
    patience: float
    max_connections: int


class GateProtocol(asyncio.Protocol):
    """Answers 431 to a head that is too large, 408 to a client that keeps us waiting, 503 where it is full.

    No such answer is ever written into another one: where an earlier request of the connection is still
    being answered, the connection just closes. `deadline` is on the loop's clock, and means nothing while
    it is our turn. `congested` says that the client is slow to take what was written.
    """

    __slots__ = (
        "_behind", "_deaf", "_limits", "_reader", "_running", "_waiters", "all", "client", "congested",
        "deadline", "loop", "reading", "server", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.all = connections
        self.loop = loop
        self.client: tuple[str, int | None] | None = None
        self.server: tuple[str, int | None] | None = None
        self.reading = True
        self.congested = False
        self._limits = connections.limits
        self.deadline = loop.time() + self._limits.patience
        self._reader = Reader(self, self._limits.max_header)
        self._running: Cycle | None = None  # the request that is being answered
        self._behind: deque[Cycle] = deque()  # those that come after it
        self._waiters: list[asyncio.Future[None]] = []
        self._deaf = False  # what comes is not listened to any more

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        self.server = _address(transport.get_extra_info("sockname"))
        self.client = _address(transport.get_extra_info("peername"))
        if self.all.opened(self) > self._limits.max_connections:
            self._refuse(Unavailable("The gate has too many open connections. Try again later."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered."""
        self._leave()
        del self._reader  # it knows us as we know it
        self.all.closed(self)

    def data_received(self, data: bytes) -> None:
        """Read on, and see how long the client may take for what is still missing."""
        if self._deaf:
            return
        reader = self._reader
        phase = reader.phase
        try:
            reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if reader.owes is NOTHING:
            if self._running is None:  # the rest of a request that was answered before its end
                self.deadline = self.loop.time() + KEEP_ALIVE
        elif reader.phase != phase or (reader.owes is BODY and self._running is not None):
            self.deadline = self.loop.time() + self._limits.patience

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = False
        self.wake()

    # What the reader and the cycles tell, and ask for.

    def begin(self, cycle: Cycle) -> bool:
        """A request has begun: answer it, or let it wait for its turn. Returns whether its body is wanted.

        Raises `BadRequest` for one too many.
        """
        before = self._behind[-1] if self._behind else self._running
        if before is None:
            self._start(cycle)
        elif not before.keep_alive:
            return False  # nothing follows the last request of a connection
        elif len(self._behind) < FURTHEST_AHEAD:
            self._behind.append(cycle)
            self.balance()
        else:
            raise BadRequest("These are too many requests at once for one connection.")
        return True

    def answered(self) -> None:
        """The running request has its answer: the next one's turn."""
        cycle, self._running = self._running, None
        self.wake()
        if cycle is not None and not cycle.keep_alive:
            self._behind.clear()
            if cycle.whole or self.transport.is_closing():
                self.transport.close()
            else:
                self._linger()
            return
        if self._behind:
            self._start(self._behind.popleft())
        patience = KEEP_ALIVE if self._reader.owes is NOTHING else self._limits.patience
        self.deadline = self.loop.time() + patience
        if not self.reading:
            self.balance()

    def cut(self, cycle: Cycle) -> None:
        """Close before the end of `cycle`'s answer, in a way that does not look like its end."""
        if cycle.unframed:
            self.transport.abort()
        else:
            self.transport.close()

    def balance(self) -> None:
        """Read on, or do not, by how much waits for its app."""
        open_cycles = [cycle for cycle in (self._running, *self._behind) if cycle is not None]
        wanted = len(self._behind) < AHEAD and sum(cycle.waiting for cycle in open_cycles) <= HIGH_WATER
        if wanted is not self.reading and not self.transport.is_closing():
            self.reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    async def news(self) -> None:
        """Wait until something has come, can be written, or has ended; whoever waits looks what it was."""
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def wake(self) -> None:
        """There is something new."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What `Connections` asks for.

    def finish(self) -> None:
        """Answer the running request, and no other one."""
        self._behind.clear()
        if self._running is None:
            self.transport.close()
        else:
            self._running.keep_alive = False

    def look(self, now: float) -> None:
        """The deadline is past: see whose turn it is."""
        reader, running = self._reader, self._running
        its_body = reader.owes is BODY and reader.cycle is running
        if self._deaf:
            self.transport.abort()
        elif running is not None and not its_body:
            return
        elif not self.reading:  # it is we who do not listen
            self.deadline = now + self._limits.patience
        elif reader.owes is HEAD or running is not None:
            self._refuse(BadRequest("The request came too slowly.", status=408, code="request_timeout"))
        else:
            self.transport.close()

    # Inside.

    def _start(self, cycle: Cycle) -> None:
        self._running = cycle
        self.all.start(cycle, self.loop)

    def _leave(self) -> None:
        """Nobody is there any more for whom it would be worth to go on."""
        if self._running is not None:
            self._running.gone = True
            self._running = None
        self._behind.clear()
        self.wake()

    def _refuse(self, refusal: Refusal) -> None:
        """Say no and close."""
        running = self._running
        its_own = running is None or (self._reader.cycle is running and not running.started)
        self._leave()
        self._be_deaf()
        if self.transport.is_closing():
            return
        if its_own:
            self.transport.write(_wire(refusal))
            self._linger()
        elif running is not None:
            self.cut(running)

    def _linger(self) -> None:
        """Take what still comes for a while: closing at once could lose the answer on its way."""
        self._be_deaf()
        self.transport.write_eof()
        self.balance()

    def _be_deaf(self) -> None:
        """Answer nothing any more. What was written has some time to arrive."""
        self._deaf = True
        self.deadline = self.loop.time() + self._limits.patience


def _address(name: object) -> tuple[str, int | None] | None:
    """An address as ASGI has it; a path for a Unix socket that has one."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if isinstance(name, str) and name else None


def _wire(refusal: Refusal) -> bytes:
    status, headers, body = openai_shape(refusal)
    lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
    return b"\r\n".join(lines)
