"""httpx over an engine behaves as httpx does, by the engine's rules."""

import httpx
import pytest
from servers import Peer, ScriptedUpstream, refused_url

from llmgate.proxy.address_guard import AddressGuard
from llmgate.proxy.engines.base import UpstreamError
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.transport import ERRORS, EngineTransport


def client(engine: HttptoolsEngine, **how: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=EngineTransport(engine), trust_env=False, **how)


async def test_a_request_and_its_answer_come_through() -> None:
    """Method, path, query, headers and body; the framing is written once."""
    heads = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            head, body = await peer.request()
            heads.append(head)
            await peer.answer(body[::-1], status=b"201 Created", headers=b"x-a: 1\r\nx-a: 2\r\n")

    engine = HttptoolsEngine()
    async with ScriptedUpstream(script) as server, client(engine) as http:
        for _ in range(2):
            answer = await http.post(f"{server.url}/a%20b?c=d", content=b"abc", headers={"x-b": "3"})
            assert (answer.status_code, answer.content) == (201, b"cba")
            assert answer.headers.get_list("x-a") == ["1", "2"]
        assert server.connections == 1
        for head in heads:
            lines = head.lower().split(b"\r\n")
            assert lines[0] == b"post /a%20b?c=d http/1.1"
            assert b"x-b: 3" in lines
            assert sum(line.startswith(b"host:") for line in lines) == 1
            assert sum(line.startswith(b"content-length:") for line in lines) == 1
        await engine.aclose()


async def test_what_the_guard_refuses_is_a_connect_error() -> None:
    """Nobody is asked."""
    async with ScriptedUpstream(Peer.gone) as server:
        engine = HttptoolsEngine(guard=AddressGuard(own_ports={server.port}))
        async with client(engine) as http:
            with pytest.raises(httpx.ConnectError, match="this gate itself"):
                await http.get(server.url)
        assert server.connections == 0


async def test_errors_are_httpxs_own() -> None:
    """Refused, silent, and broken off."""

    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")

    async def silent(peer: Peer) -> None:
        await peer.gone()

    engine = HttptoolsEngine()
    async with client(engine) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(await refused_url())
        async with ScriptedUpstream(breaks) as server:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(server.url)
        async with ScriptedUpstream(silent) as server:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(server.url, timeout=0.05)
    await engine.aclose()


def test_every_error_of_an_engine_has_its_own() -> None:
    """None is forgotten."""
    assert set(ERRORS) == set(UpstreamError.__subclasses__())
