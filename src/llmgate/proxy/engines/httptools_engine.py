"""The engine of the hot path: a pool of keep-alive connections around httptools' parser.

No task, timer or copy is spent per chunk. One sweep per engine looks at every deadline, each `SWEEP_INTERVAL_S` seconds
while there are connections; a timeout comes at most that much late.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

from .base import ConnectFailed, ConnectTimedOut, UpstreamBroke
from .connection import Connection
from .dialer import addresses_of, first_to_succeed
from .trust import trusting

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from ..address_guard import AddressGuard
    from .base import Origin, Timeouts, UpstreamRequest
    from .response import Response

SWEEP_INTERVAL_S = 0.1
IDLE_AGE_S = 4.0
"""How long an unused connection is kept where the upstream gives no Keep-Alive hint: less than the 5 s after
which uvicorn (and so vLLM), llama.cpp's server and Node close it, so that requests hardly ever meet that."""

CLOSED_AT_ONCE = 100
"""Connections, before others have their turn: a thousand take 10 ms."""

CR, LF = b"\r", b"\n"
END = (b"", b"")
"""Joined behind the lines of a head, the empty line that ends it."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be repeated without asking (RFC 9110 9.2.2)."""


class HttptoolsEngine:
    """`Engine` on httptools. `tls` is used for https origins; without it, the system's trust and what is in `ca_file`.

    With a `guard`, connections go only to addresses that it lets through. Raises `ConfigError` for a file of no use.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        ca_file: Path | None = None,
        idle_age: float = IDLE_AGE_S,
        guard: AddressGuard | None = None,
    ) -> None:
        self._given_tls = tls if ca_file is None else trusting(ca_file)
        self._guard = guard
        self._idle_age = idle_age
        self._idle: defaultdict[str, dict[Connection, None]] = defaultdict(
            dict
        )  # the one used last at the end
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_closed: asyncio.Event = asyncio.Event()

    def send(self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts) -> Awaitable[Response]:
        """See `Engine.send`. Repeats a request by itself in one case: see `_may_repeat`."""
        head = _head(origin, request)
        reused = self._take(origin)
        if reused is not None and request.method not in IDEMPOTENT:
            return reused.exchange(request, head, timeouts)
        return self._send(reused, origin, request, head, timeouts)

    async def _send(
        self,
        reused: Connection | None,
        origin: Origin,
        request: UpstreamRequest,
        head: bytes,
        timeouts: Timeouts,
    ) -> Response:
        if reused is not None:
            try:
                return await reused.exchange(request, head, timeouts)
            except UpstreamBroke:
                if not _may_repeat(request, reused):
                    raise
        connection = await self._connect(origin, timeouts.connect)
        return await connection.exchange(request, head, timeouts)

    async def aclose(self) -> None:
        """See `Engine.aclose`; returns when the sockets are closed. Others have their turn meanwhile."""
        while self._open:
            self._all_closed.clear()
            for number, connection in enumerate(list(self._open), start=1):
                connection.fail(UpstreamBroke("the gate is closing its connections"))
                if number % CLOSED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            if self._open:
                await self._all_closed.wait()

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin.url)
        if not idle:
            return None
        found, useless = None, []
        now = next(reversed(idle)).time()
        for connection in reversed(idle):
            if connection.deadline <= now or connection.transport.is_closing():
                useless.append(connection)
            elif connection.reusable_at <= now:
                found = connection
                break
        for connection in useless:
            connection.close()
        if found is not None:
            del idle[found]
        return found

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        lookup = addresses_of if self._guard is None else self._guard.addresses
        try:
            async with asyncio.timeout(seconds):
                return await first_to_succeed(
                    lambda address: self._open_at(address, origin),
                    await lookup(origin.host, origin.port),
                    discard=Connection.close,
                )
        except TimeoutError as error:
            raise ConnectTimedOut(f"{origin.url}: no connection within {seconds:g} s") from error
        except OSError as error:
            raise ConnectFailed(f"{origin.url}: {error}") from error

    async def _open_at(self, address: str, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        secure = origin.scheme == "https"
        _, connection = await loop.create_connection(
            lambda: Connection(self, origin, loop),
            address,
            origin.port,
            ssl=self._tls if secure else None,
            server_hostname=origin.host if secure else None,
        )
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()

    # What the connections tell their pool.

    def opened(self, connection: Connection) -> None:
        """See `Pool.opened`."""
        self._open.add(connection)
        if self._sweeper is None:
            self._sweeper = connection.loop.call_later(SWEEP_INTERVAL_S, self._sweep, connection.loop)

    def idle(self, connection: Connection) -> None:
        """See `Pool.idle`."""
        hint = connection.keep_alive_hint
        # The upstream's clock started before ours: stay a second below what it announces.
        connection.deadline = connection.time() + (self._idle_age if hint is None else hint - 1)
        self._idle[connection.origin.url][connection] = None

    def ended(self, connection: Connection) -> None:
        """See `Pool.ended`."""
        if (idle := self._idle.get(connection.origin.url)) is not None:
            idle.pop(connection, None)

    def closed(self, connection: Connection) -> None:
        """See `Pool.closed`."""
        self.ended(connection)
        self._open.discard(connection)
        if not self._open:
            self._idle.clear()
            self._all_closed.set()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = loop.call_later(SWEEP_INTERVAL_S, self._sweep, loop) if self._open else None
        for connection in list(self._open):
            if connection.overdue():
                connection.expire()


def _may_repeat(request: UpstreamRequest, connection: Connection) -> bool:
    """Whether a request that met a dying kept-alive connection may go out once more (RFC 9110 9.2.2).

    Only if no byte of an answer came, the body is still there, and the method allows it: a POST that may have arrived
    runs no second time.
    """
    return not connection.answered and isinstance(request.body, bytes) and request.method in IDEMPOTENT


def _head(origin: Origin, request: UpstreamRequest) -> bytes:
    lines = [
        b"%b %b%b HTTP/1.1" % (request.method.encode("ascii"), origin.path, request.target),
        origin.host_line,
    ]
    lines += map(b": ".join, request.headers)
    lines += map(b": ".join, request.framing())
    lines += END
    head, ends = b"\r\n".join(lines), len(lines) - 1
    if head.count(LF) != ends or head.count(CR) != ends:
        raise ValueError("a line break inside the request line or a header would start another request")
    return head
