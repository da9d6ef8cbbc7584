"""TLS at the gate's own addresses: who is served, with which certificate, and what is wrong with a file."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from servers import PATIENCE

from llmgate.config import Address, Gate, Tls
from llmgate.errors import ConfigError
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import Listener
from llmgate.server.sockets import bind
from llmgate.server.tls import speaks_tls, tls_context

from .certificates import Authority, Pair
from .wire import GET, Steps

REST = b"5\r\nended\r\n0\r\n\r\n"
HERE = Address("127.0.0.1", 0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def gate_with(pair: Pair, **how: object) -> Gate:
    return Gate(tls=Tls(certificate=pair.certificate, key=pair.key, **how))  # type: ignore[arg-type]


@asynccontextmanager
async def serving(gate: Gate, limits: ConnectionLimits | None = None) -> AsyncIterator[Listener]:
    app = Steps()
    app.go_on.set()
    app.finish.set()
    listener = Listener(HERE, bind(HERE))
    await listener.serve(app, limits or ConnectionLimits(), grace=0.0, tls=tls_context(gate))
    try:
        yield listener
    finally:
        await listener.stop()


def trusting(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


async def asked(port: int, context: ssl.SSLContext) -> tuple[bytes, str]:
    """What comes back, and the common name of the server's certificate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(REST)
        certificate = writer.get_extra_info("peercert")
        return answer, dict(part[0] for part in certificate["subject"])["commonName"]
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_is_served(authority: Authority, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with serving(gate_with(authority.issue("gate"))) as listener:
            answer, name = await asked(listener.port, trusting(authority))
            assert (answer.startswith(b"HTTP/1.1 200 OK\r\n"), name) == (True, "gate")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_the_scheme_is_https(authority: Authority) -> None:
    seen: list[str] = []

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        seen.append(scope["scheme"])
        await Steps.answer_at_once(scope, receive, send)

    async with serving(gate_with(authority.issue("gate"))) as listener:
        await listener.serve(app, ConnectionLimits(), grace=0.0, tls=listener._tls)
        await asked(listener.port, trusting(authority))
    assert seen == ["https"]


async def test_a_new_certificate_is_for_new_connections_and_open_ones_go_on(authority: Authority) -> None:
    old, new = gate_with(authority.issue("old")), gate_with(authority.issue("new"))
    async with serving(old) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trusting(authority))
        await listener.serve(Steps.answer_at_once, ConnectionLimits(), grace=0.0, tls=tls_context(new))
        assert (await asked(listener.port, trusting(authority)))[1] == "new"
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readuntil(REST)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.transport.abort()


async def test_only_clients_with_a_certificate_of_the_named_authority_are_served(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    gate = gate_with(authority.issue("gate"), client_ca=authority.certificate)
    async with serving(gate) as listener:
        own = trusting(authority, authority.issue("client"))
        assert (await asked(listener.port, own))[1] == "gate"
        for context in (trusting(authority), trusting(authority, stranger.issue("foreign"))):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await asked(listener.port, context)


async def test_a_handshake_that_does_not_come_is_given_up(authority: Authority) -> None:
    gate = gate_with(authority.issue("gate"))
    async with serving(gate, ConnectionLimits(header_timeout=0.05)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_a_refused_client_gets_its_answer_whole(authority: Authority) -> None:
    """TLS knows no half-closed connection."""
    async with serving(gate_with(authority.issue("gate")), ConnectionLimits(header_timeout=0.1)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trusting(authority))
        writer.write(b"GET / HTTP/2.0\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 505 ")
        writer.transport.abort()


def test_what_is_wrong_with_a_file_is_said_with_its_setting(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issue("good"), authority.issue("other")
    locked = authority.issue("locked", password=b"secret")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    cases = [
        (Tls(certificate=tmp_path / "absent", key=good.key), "gate.tls.certificate: .*absent: No such file"),
        (Tls(certificate=good.certificate, key=tmp_path / "absent"), "gate.tls.key: .*absent: No such file"),
        (Tls(certificate=good.certificate, key=other.key), "gate.tls.certificate: .*that belong together"),
        (Tls(certificate=nothing, key=good.key), "gate.tls.certificate: .*that belong together"),
        (Tls(certificate=locked.certificate, key=locked.key), "gate.tls.key: .*: the key is encrypted"),
        (
            Tls(certificate=good.certificate, key=good.key, client_ca=nothing),
            "gate.tls.client_ca: .*nothing.pem: not PEM",
        ),
    ]
    for tls, message in cases:
        with pytest.raises(ConfigError, match=message):
            tls_context(Gate(tls=tls))


def test_every_tcp_address_speaks_it_unless_some_are_named(tmp_path: Path) -> None:
    unix, other = Address(path=tmp_path / "x"), Address("::1", 1)
    certificate = tmp_path / "c"
    assert not speaks_tls(HERE, Gate())
    every = Gate(tls=Tls(certificate=certificate))
    assert [speaks_tls(address, every) for address in (HERE, other, unix)] == [True, True, False]
    named = Gate(tls=Tls(certificate=certificate, listen=(other, unix)))
    assert [speaks_tls(address, named) for address in (HERE, other, unix)] == [False, True, True]
