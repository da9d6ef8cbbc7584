"""One connection: whose turn it is, how long a client may take, and how much may wait."""

import asyncio
import math

import pytest
from starlette.types import Receive, Scope, Send

from llmgate.server.limits import ConnectionLimits
from llmgate.server.protocol import HIGH_WATER_BYTES, MAX_PIPELINED, PIPELINED

from .wire import GET, LIMITS, Steps, Wire, turns


def asks(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: a", *headers, "", ""]).encode()


async def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(asks("/1") + asks("/2"))
    await turns()
    assert app.paths == ["/1"]
    app.go_on.set()
    app.finish.set()
    await turns(10)
    assert app.paths == ["/1", "/2"]
    assert wire.said.count(b"5\r\nbegun\r\n5\r\nended\r\n0\r\n\r\n") == 2


async def test_a_client_that_sends_far_ahead_is_not_read_from() -> None:
    app = Steps()
    wire = Wire(app)
    for number in range(PIPELINED + 1):
        assert wire.reading
        wire.feed(asks(f"/{number}"))
    assert not wire.reading
    app.go_on.set()
    app.finish.set()
    await turns(50)
    assert wire.reading
    assert app.paths == [f"/{number}" for number in range(PIPELINED + 1)]


async def test_too_many_requests_in_one_read_close_the_connection() -> None:
    wire = Wire(Steps())
    wire.feed(GET * (MAX_PIPELINED + 1))
    assert wire.closed == ""
    wire.feed(GET)
    assert (wire.closed, wire.said) == ("closed", b"")


async def test_nothing_follows_the_last_request_of_a_connection() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(asks("/1", "connection: close") + asks("/2"))
    app.go_on.set()
    app.finish.set()
    await turns(10)
    assert (app.paths, wire.closed) == (["/1"], "closed")


async def test_a_body_that_nobody_takes_is_not_read_further() -> None:
    take = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await take.wait()
        while (message := await receive())["type"] == "http.request":
            sizes.append(len(message["body"]))

    wire = Wire(app)
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
    wire.feed(b"x" * HIGH_WATER_BYTES)
    assert wire.reading
    wire.feed(b"x")
    assert not wire.reading
    take.set()
    await turns()
    assert (wire.reading, sizes) == (True, [HIGH_WATER_BYTES + 1])


async def held_up() -> Wire:
    """A connection whose client is slow, with an app that has the end of its answer to send."""
    app = Steps()
    wire = Wire(app)
    wire.feed(GET)
    app.go_on.set()
    await turns()
    wire.connection.pause_writing()
    app.finish.set()
    await turns()
    return wire


async def test_a_send_waits_while_the_client_is_slow() -> None:
    wire = await held_up()
    assert not wire.said.endswith(b"0\r\n\r\n")
    wire.connection.resume_writing()
    await turns()
    assert wire.said.endswith(b"5\r\nended\r\n0\r\n\r\n")


async def test_a_send_that_waits_ends_when_the_client_leaves() -> None:
    wire = await held_up()
    await wire.close_by_peer()
    assert not wire.said.endswith(b"0\r\n\r\n")


# Deadlines. `read_timed_out` is what the sweep calls when that for what the client owes is past.


def left(wire: Wire) -> float:
    """Seconds until the deadline."""
    return wire.connection.read_deadline - asyncio.get_running_loop().time()


async def test_an_idle_connection_closes_first_by_header_timeout_and_then_by_keep_alive() -> None:
    app = Steps()
    wire = Wire(app)
    assert left(wire) == pytest.approx(LIMITS.header_timeout, abs=1)
    wire.feed(GET)
    app.go_on.set()
    app.finish.set()
    await turns()
    assert left(wire) == pytest.approx(LIMITS.keep_alive, abs=1)
    wire.connection.read_timed_out(wire.connection.read_deadline)
    assert wire.closed == "closed"


async def test_while_it_is_our_turn_a_deadline_means_nothing() -> None:
    """Not even where a part of the next request is here already."""
    app = Steps()
    wire = Wire(app)
    wire.feed(GET + GET[:5])
    await turns()
    wire.connection.read_timed_out(wire.connection.read_deadline)
    assert wire.closed == ""
    app.go_on.set()
    app.finish.set()
    await turns()
    assert left(wire) == pytest.approx(LIMITS.header_timeout, abs=1)
    wire.connection.read_timed_out(wire.connection.read_deadline)
    assert b"HTTP/1.1 408 " in wire.said


async def test_a_head_has_its_time_only_once() -> None:
    wire = Wire(Steps())
    wire.feed(b"POST / HTTP/1.1\r\n")
    wire.connection.read_deadline = 0.0
    wire.feed(b"host: a\r\n")
    assert wire.connection.read_deadline == 0.0
    wire.feed(b"content-length: 5\r\n\r\n")
    assert left(wire) == pytest.approx(LIMITS.header_timeout, abs=1)


def posting(length: int = 1_000_000, head: bytes = b"") -> Wire:
    """A client that has a long body to send."""
    wire = Wire(Steps())
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\n%bcontent-length: %d\r\n\r\n" % (head, length))
    return wire


def window_ends(wire: Wire) -> None:
    wire.connection.read_timed_out(wire.connection.read_deadline)


LEAST = int(LIMITS.min_rate * LIMITS.header_timeout)
"""Bytes that have to come in each window."""


async def test_a_body_comes_as_fast_as_it_must_or_is_408() -> None:
    wire = posting()
    for _ in range(3):
        began = wire.connection.read_deadline
        wire.feed(b"x" * LEAST)
        window_ends(wire)
        assert wire.connection.read_deadline == pytest.approx(began + LIMITS.header_timeout)
    wire.feed(b"x" * (LEAST - 1))
    window_ends(wire)
    assert wire.said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_has_one_deadline_however_fast_it_comes() -> None:
    wire = posting()
    windows = 0
    while not wire.said:
        wire.connection._running.waiting = 0  # type: ignore[union-attr] - the app takes it all
        wire.feed(b"x" * LEAST)
        window_ends(wire)
        windows += 1
    assert windows == LIMITS.body_timeout / LIMITS.header_timeout
    assert wire.said.startswith(b"HTTP/1.1 408 ")


async def test_slow_trailers_and_chunk_extensions_are_no_body() -> None:
    wire = Wire(Steps())
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    wire.feed(b"1;" + b"x" * 900 + b"\r\na\r\n0\r\nx: y\r\n")
    window_ends(wire)
    assert wire.said.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_is_not_listened_to_is_not_slow() -> None:
    wire = posting()
    wire.feed(b"x" * (HIGH_WATER_BYTES + 1))
    assert not wire.reading
    for _ in range(100):  # longer than a body may take
        window_ends(wire)
    assert (wire.said, wire.closed) == (b"", "")


async def test_who_waits_for_100_continue_is_not_slow_until_it_was_said() -> None:
    take = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await take.wait()
        await receive()

    wire = Wire(app)
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
    await turns()
    assert wire.connection.read_deadline == math.inf
    take.set()
    await turns()
    assert wire.said == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert left(wire) == pytest.approx(LIMITS.header_timeout, abs=1)


# What a client takes. `write_timed_out` is what the sweep calls.


async def test_a_client_that_takes_nothing_of_its_answer_is_gone() -> None:
    wire = await held_up()
    wire.unsent = 100_000
    wire.connection.pause_writing()
    wire.connection.write_timed_out(0.0)
    assert wire.closed == "aborted"
    assert wire.connections.ended == {"timed_out": 1}


async def test_a_client_that_takes_enough_may_be_slow_for_ever() -> None:
    wire = await held_up()
    for wire.unsent in (100_000, 90_000, 80_000, 70_000):
        if wire.unsent == 100_000:
            wire.connection.pause_writing()
        else:
            wire.connection.write_timed_out(0.0)
    assert wire.closed == ""
    wire.unsent -= int(LIMITS.min_rate * LIMITS.send_timeout) - 1  # a byte less than it must
    wire.connection.write_timed_out(0.0)
    assert wire.closed == "aborted"


async def test_an_idle_client_that_has_not_taken_its_answer_is_not_waited_for_after_the_close() -> None:
    app = Steps()
    app.go_on.set()
    app.finish.set()
    wire = Wire(app)
    wire.feed(GET)
    await turns()
    wire.unsent = 1000
    wire.connection.read_timed_out(wire.connection.read_deadline)
    assert wire.closed == "closed"
    assert wire.connection.write_deadline < math.inf
    wire.connection.write_timed_out(0.0)
    assert wire.closed == "aborted"


async def test_a_refused_client_is_listened_to_for_a_while() -> None:
    wire = Wire(Steps())
    wire.feed(b"\x00\r\n\r\n")
    assert wire.closed == "half"
    assert left(wire) == pytest.approx(LIMITS.header_timeout, abs=1)
    wire.feed(GET)
    assert wire.said.count(b"HTTP/1.1 ") == 1
    wire.connection.read_timed_out(wire.connection.read_deadline)
    assert wire.closed == "aborted"


async def test_the_rest_of_a_request_that_was_answered_is_waited_for_only_once() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\na")
    app.go_on.set()
    app.finish.set()
    await turns()
    wire.connection.read_deadline = 0.0
    wire.feed(b"b")
    assert wire.connection.read_deadline == 0.0
    said = wire.said
    wire.connection.read_timed_out(1.0)
    assert (wire.closed, wire.said) == ("closed", said)  # a 408 could be taken for the next answer


async def test_one_connection_too_many_is_503() -> None:
    wire = Wire(Steps(), ConnectionLimits(max_connections=0))
    assert wire.said.startswith(b"HTTP/1.1 503 ")


async def test_what_an_answer_has_said_before_junk_came_has_time_to_arrive() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(GET)
    app.go_on.set()
    await turns()
    wire.connection.read_deadline = 0.0
    wire.feed(b"\x00 junk\r\n\r\n")
    assert (wire.closed, wire.said.endswith(b"begun\r\n")) == ("closed", True)
    now = asyncio.get_running_loop().time()
    assert wire.connection.write_deadline == pytest.approx(now + LIMITS.send_timeout, abs=1)
