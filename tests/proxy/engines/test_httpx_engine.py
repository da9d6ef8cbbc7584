"""What only the httpx engine does: a client of one's own, and a proxy on the way."""

import httpx
import pytest
import respx
from servers import PATIENCE, Peer, ScriptedUpstream

from llmgate.proxy.engines.base import Origin, Timeouts, UpstreamRequest
from llmgate.proxy.engines.httpx_engine import HttpxEngine

from .test_base import whole

GET = UpstreamRequest("GET", b"/v1/models", [])
PATIENT = Timeouts(PATIENCE, PATIENCE, PATIENCE)


@respx.mock
async def test_upstreams_can_be_mocked() -> None:
    respx.get("http://vllm:8000/v1/models").respond(json={"data": []})
    engine = HttpxEngine()
    response = await engine.send(Origin.parse("http://vllm:8000"), GET, PATIENT)
    assert await whole(response) == b'{"data":[]}'
    await engine.aclose()


async def test_a_client_that_was_given_stays_open() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
        engine = HttpxEngine(client)
        await engine.aclose()
        assert not client.is_closed


@pytest.mark.parametrize(("login", "sent"), [("", False), ("gate:secret@", True)])
async def test_requests_go_through_the_proxy_that_is_named(login: str, sent: bool) -> None:
    heads: list[bytes] = []

    async def proxy(peer: Peer) -> None:
        head, _ = await peer.request()
        heads.append(head)
        await peer.answer(b"by proxy")

    async with ScriptedUpstream(proxy) as server:
        engine = HttpxEngine(proxy=f"http://{login}127.0.0.1:{server.port}")
        response = await engine.send(Origin.parse("http://vllm.example"), GET, PATIENT)
        assert await whole(response) == b"by proxy"
        await engine.aclose()
    assert heads[0].startswith(b"GET http://vllm.example/v1/models HTTP/1.1\r\n")
    assert (b"proxy-authorization: basic " in heads[0].lower()) is sent
