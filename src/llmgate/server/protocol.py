"""HTTP/1.1 (RFC 9112) as the gate serves it: one connection, its requests answered one after the other.

A protocol for uvicorn, as its `--http` and `Config(http=...)` take it. Nothing is spent on every request that
only some need: no timer (one looks at every deadline, see `Connections`), no future unless somebody waits, one
write for an answer that is there.
"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any, cast

from ..errors import BadRequest, Refusal, Unavailable
from .client_clock import BodyClock, reset
from .connection import ClientConnection
from .connections import Connections
from .cycle import Cycle
from .limits import limits_of
from .parser import HEAD, NOTHING, RequestParser
from .wire import access_line, address_of, refusal_bytes

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import Scope
    from uvicorn.server import ServerState

HIGH_WATER_BYTES = 64 * 1024
"""How much of bodies waits for their apps before the client is no longer read from."""
PIPELINED = 8
"""Requests that wait behind the one that is answered before the client is no longer read from."""
MAX_PIPELINED = 256
"""Requests that may wait, since one read can have many; the connection of a client that sends more closes."""

access_log = logging.getLogger("uvicorn.access")


class HttpProtocol(ClientConnection):
    """Answers 431 to a head that is too large, 408 to a client that keeps us waiting, 503 where it is full.

    No such answer is ever written into another one: where an earlier request of the connection is still
    being answered, the connection just closes.
    """

    __slots__ = (
        "_app", "_app_state", "_body_clock", "_config", "_logged_scope", "_parser", "_pipelined", "_running",
        "logs_access", "server_state",
    )  # fmt: skip

    _parser: RequestParser

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        super().__init__(_loop or asyncio.get_running_loop(), Connections.of(server_state), limits_of(config))
        self.server_state = server_state
        self.logs_access = config.access_log and access_log.hasHandlers()
        self._config = config
        self._app = config.loaded_app
        self._app_state = app_state
        self._body_clock = BodyClock(self._limits)
        self._running: Cycle | None = None  # the request that is being answered
        self._pipelined: list[Cycle] = []  # those that come after it; an empty deque takes 760 bytes
        self._logged_scope: Scope | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        client = address_of(transport.get_extra_info("peername"))
        template: Scope = {
            "type": "http",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.3"},
            "server": address_of(transport.get_extra_info("sockname")),
            "client": client,
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": self._config.root_path,
        }
        self._parser = RequestParser(self, self._limits.max_header, template)
        if client is not None:
            self.counted_as = self._limits.bounded(client[0])
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        if not self._connections.opened(self, self._limits):
            self._refuse(Unavailable("The gate has too many open connections. Try again later."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered."""
        self._disconnect()
        del self._parser  # it knows us as we know it
        self.server_state.connections.discard(self)
        self._connections.closed(self)

    def data_received(self, data: bytes) -> None:
        """Read on, and see how long the client may take for what is still missing."""
        if self._ignoring:
            return
        parser = self._parser
        part = parser.part
        try:
            parser.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if parser.pending is NOTHING:
            if self._running is None:  # the rest of a request that was answered before its end
                self.read_deadline = self.loop.time() + self._limits.keep_alive
            else:
                self.read_deadline = inf
        elif parser.part != part:
            if parser.pending is HEAD:
                self.read_deadline = self.loop.time() + self._limits.header_timeout
            else:
                self.body_wanted()

    # What the parser and the cycles tell, and ask for.

    def on_request(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> Cycle | None:
        """See `RequestSink`. Raises `BadRequest` for one too many."""
        before = self._pipelined[-1] if self._pipelined else self._running
        if before is not None and not before.keep_alive:
            return None  # nothing follows the last request of a connection
        if self._app_state:
            scope["state"] = self._app_state.copy()
        cycle = Cycle(self, scope, keep_alive=keep_alive, expects_continue=expects_continue)
        if before is None:
            self._start(cycle)
        elif len(self._pipelined) < MAX_PIPELINED:
            self._pipelined.append(cycle)
            self.apply_backpressure()
        else:
            raise BadRequest("These are too many requests at once for one connection.")
        return cycle

    def on_websocket(self, head: bytes) -> bool:
        """See `RequestSink`: hand the connection to uvicorn's protocol for WebSockets, if one is installed."""
        made = self._config.ws_protocol_class
        if made is None or self._running is not None:
            return False
        protocol = made(  # type: ignore[call-arg]
            config=self._config, server_state=self.server_state, app_state=self._app_state
        )
        self._ignoring = True
        self.server_state.connections.discard(self)
        self._connections.closed(self)
        protocol.connection_made(self.transport)
        protocol.data_received(head)
        self.transport.set_protocol(protocol)
        return True

    def answer_begins(self, status: int) -> None:
        """See `cycle.Connection`."""
        if self._logged_scope is not None:
            access_log.info(*access_line(self._logged_scope, status))

    def answered(self) -> None:
        """The running request has its answer: the next one's turn."""
        cycle, self._running = self._running, None
        self.notify()
        if cycle is not None and not cycle.keep_alive:
            self._pipelined.clear()
            if cycle.received or self.transport.is_closing():
                self._close()
            else:
                self._linger()
            return
        if self._pipelined:
            self._start(self._pipelined.pop(0))
            self.body_wanted()
        else:
            self._connections.idle(self)
            idle = self._parser.pending is NOTHING
            seconds = self._limits.keep_alive if idle else self._limits.header_timeout
            self.read_deadline = self.loop.time() + seconds
        if not self.reading:
            self.apply_backpressure()

    def close_unfinished(self, cycle: Cycle) -> None:
        """Close before the end of `cycle`'s answer, in a way that does not look like its end."""
        if cycle.unframed:
            reset(self.transport)
        else:
            self._close()

    def body_wanted(self) -> None:
        """A body is due, or what has come of it is asked for: its client's time begins, unless it is our turn."""
        running = self._running
        if running is not None and running.body_due and self._parser.body is running:
            self.read_deadline = self._body_clock.begin(self.loop.time(), self._parser.body_bytes)
        else:
            self.read_deadline = inf

    def apply_backpressure(self) -> None:
        """Read on, or do not, by how much waits for its app."""
        open_cycles = [cycle for cycle in (self._running, *self._pipelined) if cycle is not None]
        waiting = sum(cycle.waiting for cycle in open_cycles)
        self._read_while(len(self._pipelined) < PIPELINED and waiting <= HIGH_WATER_BYTES)
        if not self.reading:
            self._body_clock.excuse()

    # What uvicorn and `Connections` ask for.

    def shutdown(self) -> None:
        """Answer the running request, and no other one."""
        self._pipelined.clear()
        if self._running is None:
            self._close()
        else:
            self._running.keep_alive = False

    def read_timed_out(self, now: float) -> None:
        """See whose turn it is."""
        parser, running = self._parser, self._running
        deadline: float | None = inf
        if self._ignoring:
            self.write_timed_out(now)
        elif running is not None:
            if parser.body is running and running.body_due:
                deadline = self._body_clock.check(now, parser.body_bytes, reading=self.reading)
        elif parser.pending is HEAD:
            deadline = None
        else:
            self._close()
        self.read_deadline = inf if deadline is None else deadline
        if deadline is None:
            self._connections.ended["timed_out"] += 1
            self._refuse(BadRequest("The request came too slowly.", status=408, code="request_timeout"))

    # Inside.

    def _start(self, cycle: Cycle) -> None:
        self._running = cycle
        self._connections.busy(self)
        scope, cycle.scope = cycle.scope, None
        assert scope is not None, "a request is started once"
        if self.logs_access:
            self._logged_scope = scope
        state = self.server_state
        state.total_requests += 1
        # An ASGI app is a coroutine function, though its type only says awaitable.
        task: asyncio.Task[None] = self.loop.create_task(self._app(scope, cycle.receive, cycle))
        state.tasks.add(task)
        task.add_done_callback(cycle.app_returned)

    def _disconnect(self) -> None:
        """Nobody is there any more for whom it would be worth to go on."""
        if self._running is not None:
            self._running.disconnected = True
            self._running = None
        self._pipelined.clear()
        self.notify()

    def _refuse(self, refusal: Refusal) -> None:
        """Say no and close."""
        running = self._running
        its_own = running is None or (self._parser.body is running and not running.started)
        self._disconnect()
        self._ignoring = True
        if self.transport.is_closing():
            return
        if its_own:
            self.transport.write(refusal_bytes(refusal))
            self._linger()
        elif running is not None:
            self.close_unfinished(running)
