"""Event streams as they pass: unbuffered, alive until their first event, ended in time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from servers import PATIENCE, Peer, ScriptedUpstream

from llmgate.errors import AnswerCut
from llmgate.proxy import event_stream
from llmgate.proxy.engines.base import Engine, Timeouts
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.event_stream import DO_NOT_BUFFER, HEARTBEAT, is_event_stream, unbuffered
from llmgate.proxy.relay import Relay
from llmgate.proxy.upstreams import Upstream

SCOPE = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
)
LAST = b"data: 1\n\ndata: [DONE]\n\n"

Script = Callable[[Peer], Awaitable[None]]


@pytest.fixture(params=[HttptoolsEngine, HttpxEngine])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    engine = request.param()
    yield engine
    await engine.aclose()


async def relayed(engine: Engine, script: Script, **timeouts: float) -> list[Any]:
    """What the client of a relay in front of `script` is sent."""
    sent: list[Any] = []
    stays: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    first = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Any:
        return next(first, None) or await stays

    async def send(message: Any) -> None:
        sent.append(message)

    async with ScriptedUpstream(script) as server, asyncio.timeout(PATIENCE):
        upstream = Upstream("vllm", [server.url], engine=engine, timeouts=Timeouts(**timeouts))
        try:
            await Relay(upstream)(dict(SCOPE), receive, send)
        except AnswerCut:
            sent.append("cut")
    return sent


def streaming(*pieces: bytes, head: bytes = b"", end: bool = True) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + head + b"\r\n")
        for piece in pieces:
            await peer.chunk(piece)
        await (peer.chunk(b"") if end else peer.gone())

    return script


def body_of(sent: list[Any]) -> bytes:
    return b"".join(message["body"] for message in sent[1:])


async def test_proxies_are_asked_not_to_buffer_unless_the_upstream_says_something_itself(
    engine: Engine,
) -> None:
    sent = await relayed(engine, streaming(b"data: 1\n\n"))
    assert DO_NOT_BUFFER in sent[0]["headers"]
    sent = await relayed(engine, streaming(b"data: 1\n\n", head=b"X-Accel-Buffering: yes\r\n"))
    assert [value for name, value in sent[0]["headers"] if name == DO_NOT_BUFFER[0]] == [b"yes"]


def test_what_is_no_event_stream_is_left_alone() -> None:
    assert not is_event_stream([(b"content-type", b"application/json"), (b"x", b"text/event-stream")])
    assert unbuffered([(b"x-accel-buffering", b"yes")]) == [(b"x-accel-buffering", b"yes")]


@pytest.mark.parametrize(
    "pieces",
    [(LAST,), (b"data: 1\n\n", b"data: [DO", b"NE]\n\n"), (b"data:[DONE]\r\n\r\n",), (LAST, b": bye\n\n")],
)
async def test_a_stream_that_stays_open_behind_its_last_event_is_ended(
    engine: Engine, pieces: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "END_AFTER_DONE_S", 0.05)
    if (
        pieces[-1] == b": bye\n\n"
    ):  # what still comes is passed on, and the end is that of the connection's silence
        monkeypatch.setattr(event_stream, "LONGEST_DONE", 200)
    sent = await relayed(engine, streaming(*pieces, end=False), idle=0.5)
    assert body_of([message for message in sent if message != "cut"]) == b"".join(pieces)
    assert pieces[-1] == b": bye\n\n" or sent[-1] == {
        "type": "http.response.body",
        "body": b"",
        "more_body": False,
    }


async def test_a_stream_that_breaks_behind_its_last_event_is_whole(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"\r\n")
        await peer.chunk(LAST)
        peer.reset()

    sent = await relayed(engine, script)
    assert (body_of(sent), sent[-1]["more_body"]) == (LAST, False)


async def test_a_stream_that_breaks_before_it_is_cut(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"\r\n")
        await peer.chunk(b'data: {"content": "data: [DONE]"}\n\n')

    assert (await relayed(engine, script))[-1] == "cut"


async def test_heartbeats_come_until_the_first_event(engine: Engine) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"\r\n")
        await go_on.wait()
        await peer.chunk(LAST)
        await peer.chunk(b"")

    asyncio.get_running_loop().call_later(0.1, go_on.set)
    sent = await relayed(engine, script, heartbeat=0.02)
    body = body_of(sent)
    assert body.startswith(HEARTBEAT * 2)
    assert body.replace(HEARTBEAT, b"") == LAST


async def test_what_goes_wrong_behind_heartbeats_cuts_the_answer(engine: Engine) -> None:
    sent = await relayed(engine, streaming(end=False), heartbeat=0.02, idle=0.1, first_byte=0.1)
    assert sent[1]["body"] == HEARTBEAT
    assert sent[-1] == "cut"


async def test_what_the_first_byte_may_take_holds_behind_an_early_head(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"\r\n")
        await asyncio.sleep(0.4)
        await peer.chunk(b"data: 1\n\n")
        await peer.gone()

    sent = await relayed(engine, script, first_byte=PATIENCE, idle=0.15)
    assert body_of(sent[:2]) == b"data: 1\n\n"
    assert sent[-1] == "cut"  # between two pieces, idle_timeout is the rule
