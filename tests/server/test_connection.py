"""A client's connection apart from what is said on it: backpressure and ways to end it."""

import asyncio
import math

from uvicorn.server import ServerState

from llmgate.server.connection import ClientConnection
from llmgate.server.connections import Connections
from llmgate.server.limits import ConnectionLimits

from .wire import Steps, Wire, turns

LIMITS = ConnectionLimits(header_timeout=10.0, send_timeout=20.0)


def connected() -> tuple[ClientConnection, Wire]:
    loop = asyncio.get_running_loop()
    connection = ClientConnection(loop, Connections(ServerState()), LIMITS)
    wire = Wire(Steps())
    connection.transport = wire
    return connection, wire


async def test_all_who_wait_are_notified_once() -> None:
    connection, _ = connected()
    waiting = [asyncio.ensure_future(connection.changed()) for _ in range(3)]
    await turns()
    connection.notify()
    connection.notify()
    await asyncio.gather(*waiting)
    assert connection._waiters == []


async def test_what_was_written_has_its_time_while_the_client_is_slow() -> None:
    connection, _ = connected()
    connection.pause_writing()
    assert (connection.congested, connection.write_deadline < math.inf) == (True, True)
    connection.resume_writing()
    assert (connection.congested, connection.write_deadline) == (False, math.inf)


async def test_a_connection_that_is_to_close_keeps_its_deadline_whatever_the_client_takes() -> None:
    """Else nobody would look at it any more."""
    connection, wire = connected()
    wire.unsent = 100_000
    connection.pause_writing()
    connection._close()
    connection.resume_writing()
    assert connection.write_deadline < math.inf
    assert wire.closed == "closed"


async def test_a_client_that_is_refused_is_read_from_for_a_while() -> None:
    connection, wire = connected()
    connection._read_while(False)
    connection._linger()
    assert (wire.closed, wire.reading) == ("half", True)
    assert connection.read_deadline < math.inf
