"""One connection to an upstream: its deadlines, without a socket and without waiting."""

import asyncio
from typing import Any

import pytest

from llmgate.proxy.engines.base import FirstByteTimedOut, IdleTimedOut, Origin, Timeouts, UpstreamRequest
from llmgate.proxy.engines.connection import Connection

GET = UpstreamRequest("GET", b"/", [])
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"


class Keeps:
    """A pool that does nothing."""

    def opened(self, connection: Connection) -> None: ...
    def idle(self, connection: Connection) -> None: ...
    def ended(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...


class Sends(asyncio.Transport):
    def write(self, data: Any) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool:
        return False


async def asking(timeouts: Timeouts) -> tuple[Connection, "asyncio.Task[Any]", float]:
    """A connection whose request has just gone out, who waits for its answer, and when that was."""
    loop = asyncio.get_running_loop()
    connection = Connection(Keeps(), Origin.parse("http://vllm"), loop)
    connection.connection_made(Sends())
    task = asyncio.ensure_future(connection.exchange(GET, b"", timeouts))
    await asyncio.sleep(0)
    return connection, task, loop.time()


async def test_behind_an_early_head_the_longer_of_two_times_holds_until_the_first_byte() -> None:
    connection, task, now = await asking(Timeouts(first_byte=600.0, idle=300.0))
    assert connection.deadline == pytest.approx(now + 600, abs=1)
    connection.data_received(HEAD)
    assert connection.deadline == pytest.approx(now + 600, abs=1)
    connection.data_received(b"a")
    assert connection.deadline == pytest.approx(now + 300, abs=1)
    connection.expire()
    response = await task
    assert await response.read() == b"a"
    with pytest.raises(IdleTimedOut, match="silent for 300 s"):
        await response.read()


async def test_an_idle_time_that_is_longer_holds_from_the_head_on() -> None:
    connection, task, now = await asking(Timeouts(first_byte=10.0, idle=300.0))
    connection.data_received(HEAD)
    assert connection.deadline == pytest.approx(now + 300, abs=1)
    connection.expire()
    with pytest.raises(IdleTimedOut):
        await (await task).read()


async def test_without_a_head_it_is_the_first_byte_that_did_not_come() -> None:
    connection, task, _ = await asking(Timeouts(first_byte=10.0, idle=300.0))
    connection.expire()
    with pytest.raises(FirstByteTimedOut, match="no answer within 10 s"):
        await task
