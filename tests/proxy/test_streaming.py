"""What a request costs while it is under way: no watch where it is short, no body kept where it is long."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from servers import PATIENCE, Peer, ScriptedUpstream, until

from llmgate.errors import ClientGone, PayloadTooLarge
from llmgate.proxy import streaming
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.relay import Relay
from llmgate.proxy.streaming import Upload
from llmgate.proxy.upstreams import Upstream

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [],
}
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PIECES = (b"ab", b"", b"c")


@pytest.fixture
async def engine() -> AsyncIterator[HttptoolsEngine]:
    engine = HttptoolsEngine()
    yield engine
    await engine.aclose()


def body(*pieces: bytes) -> asyncio.Queue:
    """A client's messages; then it is silent."""
    messages = asyncio.Queue()
    for number, piece in enumerate(pieces, 1):
        messages.put_nowait({"type": "http.request", "body": piece, "more_body": number < len(pieces)})
    return messages


async def ignore(message: object) -> None:
    """A client that takes everything."""


async def test_body_is_not_kept_while_the_answer_streams(engine: HttptoolsEngine) -> None:
    """An answer can take minutes, and a prompt megabytes."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(b"data: 1\n\n")
        await go.wait()
        await peer.chunk(b"")

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            begun.set()

    prompt = bytes(1 << 20)
    alone = sys.getrefcount(prompt)
    async with ScriptedUpstream(script) as server, asyncio.timeout(PATIENCE):
        relay = Relay(Upstream("vllm", [server.url], engine=engine))
        under_way = asyncio.ensure_future(relay(dict(SCOPE), body(prompt).get, send))
        await begun.wait()
        assert sys.getrefcount(prompt) == alone
        go.set()
        await under_way


async def test_short_request_is_never_watched(
    engine: HttptoolsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks for its client's next message, and nothing of it is left when it is over."""
    monkeypatch.setattr(streaming, "POLL_INTERVAL_S", PATIENCE)
    asked = 0
    messages = body(b"{}")

    async def receive() -> dict[str, object]:
        nonlocal asked
        asked += 1
        return await messages.get()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with ScriptedUpstream(script) as server:
        relay = Relay(Upstream("vllm", [server.url], engine=engine))
        await relay(dict(SCOPE), receive, ignore)
        assert asked == 1
        assert not relay._watch._waiting


async def test_looks_end_with_the_last_request(
    engine: HttptoolsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle gate does nothing."""
    monkeypatch.setattr(streaming, "POLL_INTERVAL_S", 0)
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.answer(b"ok")

    async with ScriptedUpstream(script) as server:
        relay = Relay(Upstream("vllm", [server.url], engine=engine))
        under_way = asyncio.ensure_future(relay(dict(SCOPE), body(b"{}").get, ignore))
        await until(lambda: relay._watch._timer)
        await until(lambda: not relay._watch._timer)
        assert not under_way.done()
        go.set()
        await under_way


async def test_upload_yields_what_comes_until_it_is_taken() -> None:
    messages = body(*PIECES)
    upload = Upload(messages.get_nowait(), messages.get, 3)
    assert not upload.exhausted
    assert [piece async for piece in upload] == list(PIECES)
    assert upload.exhausted
    assert [piece async for piece in upload] == []


async def test_upload_ends_at_its_limit() -> None:
    messages = body(*PIECES)
    upload = Upload(messages.get_nowait(), messages.get, 2)
    with pytest.raises(PayloadTooLarge):
        _ = [piece async for piece in upload]


async def test_upload_says_that_its_client_is_gone() -> None:
    messages = asyncio.Queue()
    messages.put_nowait({"type": "http.disconnect"})
    upload = Upload({"type": "http.request", "body": b"a", "more_body": True}, messages.get, 9)
    with pytest.raises(ClientGone):
        _ = [piece async for piece in upload]
    assert not upload.exhausted
