"""What the fast engine promises beyond the contract: its pool, its memory, and that nothing runs twice."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from servers import PATIENCE, Peer, ScriptedUpstream, settled, until

from llmgate.proxy.engines.base import Origin, Timeouts, UpstreamBroke, UpstreamRequest, UpstreamResponse
from llmgate.proxy.engines.connection import HIGH_WATER_BYTES, STREAM_REUSE_PAUSE_S
from llmgate.proxy.engines.httptools_engine import IDLE_AGE_S, HttptoolsEngine

PATIENT = Timeouts(connect=PATIENCE, first_byte=PATIENCE, idle=PATIENCE)


@pytest.fixture
async def engine() -> AsyncIterator[HttptoolsEngine]:
    engine = HttptoolsEngine()
    yield engine
    await engine.aclose()


def request(method: str = "GET", body: bytes | AsyncIterator[bytes] = b"") -> UpstreamRequest:
    return UpstreamRequest(method, b"/", [], body)


async def whole(response: UpstreamResponse) -> bytes:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    return b"".join(pieces)


async def dying_after_one(peer: Peer) -> None:
    """Answer one request; read the next and close without a word."""
    await peer.request()
    await peer.answer(b"first")
    await peer.request()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_idempotent_request_on_a_dying_connection_is_sent_once_more(
    engine: HttptoolsEngine, method: str
) -> None:
    """RFC 9110 9.2.2: the keep-alive race may be repaired where repeating does no harm."""
    async with ScriptedUpstream(dying_after_one) as upstream:
        origin = Origin.parse(upstream.url)
        assert await whole(await engine.send(origin, request(), PATIENT)) == b"first"
        assert (await engine.send(origin, request(method), PATIENT)).status == 200
        assert upstream.connections == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_post_that_may_have_arrived_is_never_sent_again(engine: HttptoolsEngine, method: str) -> None:
    async with ScriptedUpstream(dying_after_one) as upstream:
        origin = Origin.parse(upstream.url)
        await whole(await engine.send(origin, request(), PATIENT))
        with pytest.raises(UpstreamBroke) as caught:
            await engine.send(origin, request(method, b"x"), PATIENT)
        assert caught.value.sent
        assert upstream.connections == 1


async def test_request_on_a_fresh_connection_is_never_repeated(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(UpstreamBroke):
            await engine.send(Origin.parse(upstream.url), request(), PATIENT)
        assert upstream.connections == 1


async def test_request_whose_answer_had_begun_is_never_repeated(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.request()
        await peer.send(b"HTTP/1.1 2")

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        await whole(await engine.send(origin, request(), PATIENT))
        with pytest.raises(UpstreamBroke):
            await engine.send(origin, request(), PATIENT)
        assert upstream.connections == 1


async def pool_of(engine: HttptoolsEngine, origin: Origin, size: int) -> None:
    """Wait until so many connections are idle."""
    await until(lambda: len(engine._idle.get(origin.url, [])) == size)


@pytest.mark.parametrize(
    "last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["eof", "unasked-answer"]
)
async def test_idle_connection_that_the_upstream_ends_leaves_the_pool(
    engine: HttptoolsEngine, last_words: bytes
) -> None:
    """A POST then takes a fresh connection; bytes that nobody asked for are no answer to it."""
    answered = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"mine")
        await answered.wait()
        await peer.send(last_words)

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        assert await whole(await engine.send(origin, request(), PATIENT)) == b"mine"
        await pool_of(engine, origin, 1)
        answered.set()
        await pool_of(engine, origin, 0)
        assert await whole(await engine.send(origin, request("POST"), PATIENT)) == b"mine"
        assert upstream.connections == 2


async def test_second_answer_in_the_same_breath_is_not_the_next_requests(engine: HttptoolsEngine) -> None:
    """Response splitting: whatever follows an answer closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
        )
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        for count in (1, 2):
            assert await whole(await engine.send(Origin.parse(upstream.url), request(), PATIENT)) == b"ok"
            assert upstream.connections == count


@pytest.mark.parametrize(("hint", "age"), [(b"", IDLE_AGE_S), (b"Keep-Alive: timeout=3, max=9\r\n", 2)])
async def test_idle_connection_is_kept_for_less_than_the_upstream_keeps_it(
    engine: HttptoolsEngine, hint: bytes, age: float
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(headers=hint)
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        await whole(await engine.send(origin, request(), PATIENT))
        (connection,) = engine._idle[origin.url]
        assert 0 <= connection.time() + age - connection.deadline < 1


async def test_overdue_idle_connection_is_not_used(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(headers=b"keep-alive: timeout=1\r\n")
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        for count in (1, 2):
            await whole(await engine.send(origin, request("POST"), PATIENT))
            assert upstream.connections == count


async def test_early_answer_ends_the_upload_and_the_connection(engine: HttptoolsEngine) -> None:
    """An upstream may refuse a body that is still being sent; the rest of it is not sent anywhere."""
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.answer(b"too much", status=b"413 Content Too Large")
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        for count in (1, 2):
            response = await engine.send(Origin.parse(upstream.url), request("POST", endless()), PATIENT)
            assert (response.status, await whole(response)) == (413, b"too much")
            async with asyncio.timeout(PATIENCE):
                await stopped.wait()
            assert upstream.connections == count


async def test_upload_waits_for_a_slow_upstream(engine: HttptoolsEngine) -> None:
    """Write backpressure: the body is not pulled faster than the upstream takes it."""
    pulled = 0
    go = asyncio.Event()
    piece = bytes(1 << 20)

    async def body() -> AsyncIterator[bytes]:
        nonlocal pulled
        for _ in range(64):
            pulled += 1
            yield piece

    async def script(peer: Peer) -> None:
        await peer.head()
        await go.wait()
        while size := int(await peer.reader.readline(), 16):
            await peer.reader.readexactly(size + 2)
        await peer.answer(headers=b"connection: close\r\n")

    async with ScriptedUpstream(script) as upstream:
        task = asyncio.ensure_future(
            engine.send(Origin.parse(upstream.url), request("POST", body()), PATIENT)
        )
        await settled(lambda: pulled)
        assert 0 < pulled < 32
        go.set()
        assert (await task).status == 200
        assert pulled == 64


async def test_slow_reader_stops_the_upstream(engine: HttptoolsEngine) -> None:
    """Read backpressure: what waits in the gate is bounded, and nothing is lost."""
    total = 32 << 20
    piece = bytes(1 << 16)
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(piece)
            sent += len(piece)
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url), request(), PATIENT)
        await settled(lambda: sent)
        assert sent < total
        assert sum(map(len, response.pieces)) < 3 * HIGH_WATER_BYTES
        assert len(await whole(response)) == total
        await pool_of(engine, Origin.parse(upstream.url), 1)


async def test_slow_reader_is_not_an_idle_upstream(engine: HttptoolsEngine) -> None:
    """While the reader holds the connection up, its deadline stands still."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (16 << 20) + bytes(16 << 20))
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url), request(), PATIENT)
        await settled(lambda: response.backlog > HIGH_WATER_BYTES)
        connection = response.source
        connection.deadline = connection.time() - 1
        assert not connection.overdue()
        assert len(await whole(response)) == 16 << 20


async def test_nagle_is_off(engine: HttptoolsEngine) -> None:
    """Small writes leave at once (TCP_NODELAY)."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        await whole(await engine.send(origin, request(), PATIENT))
        sock = next(iter(engine._idle[origin.url])).transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_closing_the_engine_breaks_what_is_under_way(engine: HttptoolsEngine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url), request(), PATIENT)
        await engine.aclose()
        with pytest.raises(UpstreamBroke):
            await response.read()


@pytest.mark.parametrize(
    "bad",
    [
        UpstreamRequest("GET", b"/ HTTP/1.1\r\nX: y\r\n", []),
        UpstreamRequest("GET", b"/", [(b"x", b"y\r\nz: 1")]),
        UpstreamRequest("GET", b"/", [(b"x", b"y\nz: 1")]),
        UpstreamRequest("GET", b"/", [(b"x\r", b"y")]),
    ],
    ids=["target", "value", "bare-lf", "name"],
)
async def test_line_break_in_a_request_is_refused(engine: HttptoolsEngine, bad: UpstreamRequest) -> None:
    """Nothing that is sent as one request can be read as two."""
    with pytest.raises(ValueError, match="line break"):
        await engine.send(Origin("http", "127.0.0.1", 9), bad, PATIENT)


async def test_body_that_is_not_as_long_as_announced_is_not_sent_as_if(engine: HttptoolsEngine) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(ValueError, match="9 bytes was announced, 3 came"):
            await engine.send(
                Origin.parse(upstream.url), UpstreamRequest("PUT", b"/", [], body(), length=9), PATIENT
            )


async def test_a_connection_rests_after_an_event_stream(engine: HttptoolsEngine) -> None:
    """llama.cpp's server closes after a stream without saying so: a POST must not run into that."""

    async def streaming(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(b"data: [DONE]\n\n", headers=b"content-type: text/event-stream\r\n")

    async with ScriptedUpstream(streaming) as upstream:
        origin = Origin.parse(upstream.url)
        for _ in range(2):
            await whole(await engine.send(origin, request("POST"), PATIENT))
        assert upstream.connections == 2
        for connection in engine._idle[origin.url]:
            connection.reusable_at -= STREAM_REUSE_PAUSE_S
        await whole(await engine.send(origin, request("POST"), PATIENT))
        assert upstream.connections == 2, "rested enough"
