"""Who connects and says nothing of TLS: has a place like any other connection, and keeps it from nobody."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from servers import PATIENCE, until
from uvicorn.server import ServerState

from llmgate.server.connections import Connections
from llmgate.server.limits import ConnectionLimits
from llmgate.server.tls import tls_context
from llmgate.server.tls_server import TlsHandshake, TlsServer

from .certificates import Authority
from .test_tls import asked, authority, gate_with, serving, trusting

__all__ = ["authority"]

Scene = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Scene:
    """On either loop: their connections come by different ways."""

    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await main()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return run


def server_side(authority: Authority) -> ssl.SSLContext:
    context = tls_context(gate_with(authority.issue("gate")))
    assert context is not None
    return context


def test_silent_connections_give_way_to_a_newcomer(authority: Authority, play: Scene) -> None:
    async def main() -> None:
        limits = ConnectionLimits(max_connections=2)
        async with serving(gate_with(authority.issue("gate")), limits) as listener:
            silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(20)]
            await until(lambda: listener.ended["evicted"] == 18)
            assert listener.open_connections == 2
            for reader, _ in silent[:18]:
                assert await reader.read() == b""
            assert (await asked(listener.port, trusting(authority)))[0].startswith(b"HTTP/1.1 200 ")
            for _, writer in silent:
                writer.transport.abort()
            await until(lambda: listener.open_connections == 0)

    play(main)


@pytest.mark.parametrize(
    "said", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "a beginning", "HTTP"]
)
def test_each_ends_with_its_time_or_its_nonsense(authority: Authority, play: Scene, said: bytes) -> None:
    async def main() -> None:
        limits = ConnectionLimits(header_timeout=0.05)
        async with serving(gate_with(authority.issue("gate")), limits) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(said)
            while await reader.read(1000):  # an alert, maybe
                pass
            await until(lambda: listener.open_connections == 0)
            assert listener.ended["timed_out"] == (0 if said.startswith(b"GET") else 1)
            writer.close()

    play(main)


def test_a_stop_waits_for_no_handshake(authority: Authority, play: Scene) -> None:
    async def main() -> None:
        async with serving(gate_with(authority.issue("gate"))) as listener:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            await until(lambda: listener.open_connections == 1)
        assert await reader.read() == b""
        writer.close()

    play(main)


@pytest.mark.parametrize(("most", "refused"), [(1, True), (2, False)])
async def test_one_address_does_not_take_all_places(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, most: int, refused: bool
) -> None:
    state, limits = ServerState(), ConnectionLimits(max_per_address=most)
    context = server_side(authority)
    monkeypatch.setattr(ConnectionLimits, "bounded", lambda *_: "192.0.2.1")
    ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    for sock in ours:
        sock.setblocking(False)
        monkeypatch.setattr("llmgate.server.tls_server.address_of", lambda _: ("192.0.2.1", 1))
        TlsHandshake(sock, asyncio.Protocol, context, state, limits)
    assert Connections.of(state).ended["refused"] == refused
    for handshake in tuple(state.connections):
        handshake.transport.abort()  # before anything of it has run
    await until(lambda: not state.connections)
    for sock in theirs:
        assert sock.recv(1) == b""
        sock.close()


async def test_accepting_goes_on_after_a_want_of_descriptors(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("llmgate.server.tls_server.RETRY_S", 0.0)
    accept, failures = (
        loop.sock_accept,
        [OSError(errno.EMFILE, "too many"), OSError(errno.ECONNABORTED, "gone")],
    )

    async def sometimes(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", sometimes)
    context, state, sock = server_side(authority), ServerState(), socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server = TlsServer(sock, asyncio.Protocol, context, state, ConnectionLimits)
    _, writer = await asyncio.open_connection(*sock.getsockname())
    await until(lambda: state.connections)
    writer.close()
    server.close()
    await until(lambda: sock.fileno() == -1 and not state.connections)
