"""One whole answer: metered, bounded, and given up when its client leaves."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from servers import Peer, ScriptedUpstream, refused_url

from llmgate.backends.dialect import DIALECTS
from llmgate.errors import ClientGone, UpstreamFailed
from llmgate.exchange import Exchange
from llmgate.proxy.completion import Completion, unless_gone
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.upstreams import Upstream
from llmgate.usage.model import Certainty, Reading, Usage

USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}'
ANSWER = b'{"object":"chat.completion","model":"small","choices":[],' + USAGE + b"}"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
JSON = b"content-type: application/json\r\n"


@pytest.fixture
async def engine() -> AsyncIterator[HttptoolsEngine]:
    engine = HttptoolsEngine()
    yield engine
    await engine.aclose()


async def stays() -> dict[str, object]:
    """The `receive` of a client that waits for its answer."""
    await asyncio.Event().wait()
    raise AssertionError


def upstream(url: str, engine: HttptoolsEngine, dialect: str = "openai") -> Upstream:
    return Upstream("openai", [url], engine=engine, api_key="sk-own", dialect=DIALECTS[dialect])


async def ask(
    url: str, engine: HttptoolsEngine, exchange: Exchange, receive: object = stays, **settings: int
) -> Completion:
    return await upstream(url, engine).complete(
        exchange,
        receive,  # type: ignore[arg-type]
        "/v1/chat/completions",
        BODY,
        **settings,
    )


def exchange() -> Exchange:
    return Exchange("01234567-0123-7123-8123-0123456789ab", started=0.0)


async def test_the_answer_and_what_it_used(engine: HttptoolsEngine) -> None:
    """Asked with the upstream's own key and the request's id."""
    asked: list[tuple[bytes, bytes]] = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.request())
        await peer.answer(ANSWER, headers=JSON)

    one = exchange()
    async with ScriptedUpstream(script) as backend:
        answer = await ask(backend.url, engine, one)
    reading = Reading(Usage(5, 7), Certainty.EXACT)
    assert (answer.status, answer.body, answer.reading, answer.model) == (200, ANSWER, reading, "small")
    assert (one.reading, one.model, one.upstream, one.first_byte is None) == (
        reading,
        "small",
        "openai",
        False,
    )
    head, body = asked[0]
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"authorization: Bearer sk-own\r\n" in head
    assert f"x-request-id: {one.id}\r\n".encode() in head
    assert msgspec.json.decode(body) == BODY


async def test_an_error_of_the_upstream_is_an_answer_that_used_nothing(engine: HttptoolsEngine) -> None:
    """What to make of it is for the surface to say."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"{}", headers=JSON, status=b"400 Bad Request")

    async with ScriptedUpstream(script) as backend:
        answer = await ask(backend.url, engine, exchange())
    assert (answer.status, answer.reading) == (400, Reading(Usage(0, 0), Certainty.EXACT))


async def test_a_client_that_leaves_ends_the_request_upstream(engine: HttptoolsEngine) -> None:
    """The backend sees its connection close, and stops generating; charged is what it may have made by then."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        assert await peer.reader.read() == b""
        left.set()

    async def leaves() -> dict[str, object]:
        await asked.wait()
        return {"type": "http.disconnect"}

    one = exchange()
    async with ScriptedUpstream(script) as backend:
        with pytest.raises(ClientGone):
            await upstream(backend.url, engine, "ollama").complete(one, leaves, "/v1/chat/completions", BODY)  # type: ignore[arg-type]
        await asyncio.wait_for(left.wait(), 5)
    assert one.reading is not None
    assert one.reading.certainty is Certainty.ESTIMATED
    assert one.reading.usage.input_tokens > 0


async def test_an_answer_that_comes_a_moment_after_its_client_has_left_is_counted(
    engine: HttptoolsEngine,
) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await left.wait()
        await peer.answer(ANSWER, headers=JSON)

    async def leaves() -> dict[str, object]:
        left.set()
        return {"type": "http.disconnect"}

    one = exchange()
    async with ScriptedUpstream(script) as backend:
        with pytest.raises(ClientGone):
            await ask(backend.url, engine, one, leaves)
    assert one.reading == Reading(Usage(5, 7), Certainty.EXACT)


async def test_an_answer_that_breaks_off_is_none(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")

    async with ScriptedUpstream(script) as backend:
        with pytest.raises(UpstreamFailed) as caught:
            await ask(backend.url, engine, exchange())
    assert caught.value.answer_status == 502


async def test_an_answer_over_the_limit_is_not_kept(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(ANSWER, headers=JSON)

    async with ScriptedUpstream(script) as backend:
        with pytest.raises(UpstreamFailed, match="over 20 bytes"):
            await ask(backend.url, engine, exchange(), largest=20)


async def test_an_upstream_out_of_reach(engine: HttptoolsEngine) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await ask(await refused_url(), engine, exchange())
    assert caught.value.answer_status == 502


async def test_work_that_is_cancelled_from_outside_is_cancelled() -> None:
    """As when the server shuts down: the work ends too, and nobody takes it for a client that left."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(unless_gone(work(), stays))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
