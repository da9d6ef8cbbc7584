"""All connections of a server: who gives way when there are too many, and whose time is over."""

import asyncio

from uvicorn.server import ServerState

from llmgate.server.connections import Connections
from llmgate.server.limits import ConnectionLimits

from .wire import GET, Steps, Wire, turns

TWO = ConnectionLimits(max_connections=2, header_timeout=10.0)


def served(app: Steps, state: ServerState, limits: ConnectionLimits = TWO, client: str = "192.0.2.1") -> Wire:
    return Wire(app, limits, state=state, client=client)


async def test_the_longest_idle_connection_gives_way() -> None:
    app, state = Steps(), ServerState()
    app.go_on.set()
    app.finish.set()
    first, second = served(app, state), served(app, state)
    first.feed(GET)  # from now on the second is the one that has waited longest
    await turns(10)
    third = served(app, state)
    assert [wire.closed for wire in (first, second, third)] == ["", "aborted", ""]
    assert Connections.of(state).ended == {"evicted": 1}


async def test_a_half_sent_head_keeps_no_place_from_others() -> None:
    app, state = Steps(), ServerState()
    slow = served(app, state)
    slow.feed(GET[:10])
    served(app, state)
    served(app, state)
    assert slow.closed == "aborted"


async def test_who_is_being_answered_does_not_give_way() -> None:
    app, state = Steps(), ServerState()
    busy = [served(app, state), served(app, state)]
    for wire in busy:
        wire.feed(GET)
    third = served(app, state)
    assert third.said.startswith(b"HTTP/1.1 503 ")
    assert [wire.closed for wire in busy] == ["", ""]
    assert Connections.of(state).ended == {"refused": 1}


async def test_one_address_does_not_take_all_places() -> None:
    """Of IPv6 addresses, one network counts as one."""
    app, state = Steps(), ServerState()
    limits = ConnectionLimits(max_connections=100, max_per_address=1)
    first = served(app, state, limits, "2001:db8::1")
    second = served(app, state, limits, "2001:db8::2")
    elsewhere = served(app, state, limits, "2001:db8:0:1::1")
    assert (first.said, elsewhere.said) == (b"", b"")
    assert second.said.startswith(b"HTTP/1.1 503 ")
    for wire in (first, second):
        wire.connection.connection_lost(None)
    assert served(app, state, limits, "2001:db8::3").said == b""


async def test_one_timer_looks_at_every_deadline() -> None:
    state = ServerState()
    limits = ConnectionLimits(header_timeout=0.02)
    early, late = served(Steps(), state, limits), served(Steps(), state, limits)
    early.feed(GET[:10])
    late.connection.read_deadline += 3600
    await asyncio.sleep(0.1)
    assert early.said.startswith(b"HTTP/1.1 408 ")
    assert late.closed == ""


async def test_what_a_server_has_stays_with_it() -> None:
    state, other = ServerState(), ServerState()
    assert Connections.of(state) is Connections.of(state)
    assert Connections.of(state) is not Connections.of(other)
