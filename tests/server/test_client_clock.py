"""What a client's slowness is measured by."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from llmgate.server.client_clock import BodyClock, SendClock, drop, hurry, reset, unsent
from llmgate.server.limits import ConnectionLimits

LIMITS = ConnectionLimits(header_timeout=10.0, body_timeout=25.0, send_timeout=10.0, min_rate=10)


def test_a_body_needs_its_least_rate_in_each_window_and_an_end() -> None:
    clock = BodyClock(LIMITS)
    assert clock.begin(0.0, 0) == 10.0
    assert clock.check(10.0, 1000, reading=True) == 20.0
    assert clock.check(20.0, 1100, reading=True) == 25.0
    assert clock.check(25.0, 9999, reading=True) is None
    clock.begin(30.0, 500)
    assert clock.check(40.0, 599, reading=True) is None


def test_time_in_which_nobody_read_is_not_the_clients() -> None:
    clock = BodyClock(LIMITS)
    clock.begin(0.0, 0)
    clock.excuse()
    assert clock.check(10.0, 0, reading=True) == 20.0
    assert clock.check(20.0, 0, reading=True) is None
    clock.begin(0.0, 0)
    clock.excuse()
    for now in (10.0, 20.0, 30.0, 40.0):
        assert clock.check(now, 0, reading=False) == now + 10.0
    assert clock.check(50.0, 0, reading=True) == 60.0  # the window in which reading began again


class Sends(asyncio.Transport):
    """A transport on which so many bytes wait."""

    def __init__(self, waiting: int, sock: socket.socket | None = None) -> None:
        super().__init__()
        self.waiting = waiting
        self.sock = sock

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        if self.sock is not None:
            self.sock.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock if name == "socket" else default


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [(1000, 900, 20.0), (1000, 901, None), (50, 0, 20.0), (50, 1, None), (0, 0, None)],
)
def test_an_answer_that_waits_is_taken_at_its_least_rate_or_to_its_end(
    before: int, after: int, again: float | None
) -> None:
    clock, transport = SendClock(LIMITS), Sends(before)
    assert clock.begin(0.0, transport) == 10.0
    transport.waiting = after
    assert clock.check(10.0, transport) == again


def test_what_the_kernel_still_has_counts_too() -> None:
    """Its buffers are megabytes: what a slow client takes of them moves nothing here for minutes."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as ours, server.accept()[0] as theirs:
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(b"x" * 100_000)
        before = unsent(Sends(7, ours))
        assert before > 100_000
        while unsent(Sends(7, ours)) > before - 50_000:
            theirs.recv(100_000)
    with socket.socket(socket.AF_UNIX) as other:
        assert unsent(Sends(7, other)) == 7


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over TCP: the gate's side, whose client takes little at a time, and the client's."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as ours, server.accept()[0] as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield ours, theirs


def everything(sock: socket.socket) -> int:
    size = 0
    while piece := sock.recv(100_000):
        size += len(piece)
    return size


def test_what_nobody_takes_does_not_stay_in_the_kernel(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            ours.send(b"x" * 100_000)
    drop(Sends(0, ours))
    with pytest.raises(ConnectionResetError):
        everything(theirs)


def test_an_answer_that_was_taken_ends_as_usual_and_one_that_breaks_off_by_a_reset(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with socket.create_server(("127.0.0.1", 0)) as server:
        more = socket.create_connection(server.getsockname()), server.accept()[0]
    ours.send(b"whole")
    more[0].send(b"ha")
    assert [pair[1].recv(10) for pair in ((ours, theirs), more)] == [b"whole", b"ha"]
    drop(Sends(0, ours))
    reset(Sends(0, more[0]))
    assert theirs.recv(10) == b""
    with more[1], pytest.raises(ConnectionResetError):
        more[1].recv(10)


def test_a_connection_that_closes_does_not_wait_for_its_client_for_ever(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    hurry(Sends(0, pair[0]), 1.5)
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
    with socket.socket(socket.AF_UNIX) as other:
        hurry(Sends(0, other), 1.5)  # has no such thing
    hurry(Sends(0), 1.5)
