"""One connection: whose turn it is, how long a client may take, and how much may wait."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from llmgate.server.protocol import AHEAD, FURTHEST_AHEAD, HIGH_WATER, KEEP_ALIVE, ConnectionLimits

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
    for number in range(AHEAD + 1):
        assert wire.reading
        wire.feed(asks(f"/{number}"))
    assert not wire.reading
    app.go_on.set()
    app.finish.set()
    await turns(50)
    assert wire.reading
    assert app.paths == [f"/{number}" for number in range(AHEAD + 1)]


async def test_too_many_requests_in_one_read_close_the_connection() -> None:
    wire = Wire(Steps())
    wire.feed(GET * (FURTHEST_AHEAD + 1))
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
    wire.feed(b"x" * HIGH_WATER)
    assert wire.reading
    wire.feed(b"x")
    assert not wire.reading
    take.set()
    await turns()
    assert (wire.reading, sizes) == (True, [HIGH_WATER + 1])


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


# Patience. `look` is what the sweep calls when a deadline is past.


def left(wire: Wire) -> float:
    """Seconds until the deadline."""
    return wire.connection.deadline - asyncio.get_running_loop().time()


async def test_an_idle_connection_closes_first_by_patience_and_then_by_keep_alive() -> None:
    app = Steps()
    wire = Wire(app)
    assert left(wire) == pytest.approx(LIMITS.patience, abs=1)
    wire.feed(GET)
    app.go_on.set()
    app.finish.set()
    await turns()
    assert left(wire) == pytest.approx(KEEP_ALIVE, abs=1)
    wire.connection.look(wire.connection.deadline)
    assert wire.closed == "closed"


async def test_while_it_is_our_turn_a_deadline_means_nothing() -> None:
    """Not even where a part of the next request is here already."""
    app = Steps()
    wire = Wire(app)
    wire.feed(GET + GET[:5])
    await turns()
    wire.connection.look(wire.connection.deadline)
    assert wire.closed == ""
    app.go_on.set()
    app.finish.set()
    await turns()
    assert left(wire) == pytest.approx(LIMITS.patience, abs=1)
    wire.connection.look(wire.connection.deadline)
    assert b"HTTP/1.1 408 " in wire.said


async def test_a_body_has_patience_for_each_piece_and_a_head_only_once() -> None:
    wire = Wire(Steps())
    wire.feed(b"POST / HTTP/1.1\r\n")
    wire.connection.deadline = 0.0
    wire.feed(b"host: a\r\n")
    assert wire.connection.deadline == 0.0
    wire.feed(b"content-length: 5\r\n\r\n")
    assert wire.connection.deadline > 0.0
    wire.connection.deadline = 0.0
    wire.feed(b"a")
    assert wire.connection.deadline > 0.0


async def test_a_refused_client_is_listened_to_for_a_while() -> None:
    wire = Wire(Steps())
    wire.feed(b"\x00\r\n\r\n")
    assert wire.closed == "half"
    assert left(wire) == pytest.approx(LIMITS.patience, abs=1)
    wire.feed(GET)
    assert wire.said.count(b"HTTP/1.1 ") == 1
    wire.connection.look(wire.connection.deadline)
    assert wire.closed == "aborted"


async def test_the_rest_of_a_request_that_was_answered_is_waited_for_only_once() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\na")
    app.go_on.set()
    app.finish.set()
    await turns()
    wire.connection.deadline = 0.0
    wire.feed(b"b")
    assert wire.connection.deadline == 0.0
    said = wire.said
    wire.connection.look(1.0)
    assert (wire.closed, wire.said) == ("closed", said)  # a 408 could be taken for the next answer


async def test_one_connection_too_many_is_503() -> None:
    wire = Wire(Steps(), ConnectionLimits(1000, 10.0, max_connections=0))
    assert wire.said.startswith(b"HTTP/1.1 503 ")


async def test_what_an_answer_has_said_before_junk_came_has_time_to_arrive() -> None:
    app = Steps()
    wire = Wire(app)
    wire.feed(GET)
    app.go_on.set()
    await turns()
    wire.connection.deadline = 0.0
    wire.feed(b"\x00 junk\r\n\r\n")
    assert (wire.closed, wire.said.endswith(b"begun\r\n")) == ("closed", True)
    assert left(wire) == pytest.approx(LIMITS.patience, abs=1)
