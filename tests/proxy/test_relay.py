"""The relay under a real uvicorn protocol, between a raw client and a scripted upstream."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import PATIENCE, Client, Peer, ScriptedUpstream, connect, refused_url, serve, settled

from llmgate.exchange import Exchange
from llmgate.middleware import Errors
from llmgate.proxy.engines.base import Timeouts
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.relay import Relay
from llmgate.proxy.upstreams import BreakerSettings, Upstream

SOON = 0.5
"""Seconds within which an abort must have arrived; the watch itself starts within 100 ms."""

POST = b"POST /v1/x HTTP/1.1\r\nhost: gate\r\ncontent-length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(params=[HttptoolsEngine, HttpxEngine])
def engine_class(request: pytest.FixtureRequest) -> type:
    return request.param


@asynccontextmanager
async def gate(
    *urls: str, engine_class: type = HttptoolsEngine, key: str | None = None, **how: object
) -> AsyncIterator[str]:
    """A relay to `urls`, served; yields the base URL."""
    engine = engine_class()
    timeouts = how.pop("timeouts", Timeouts(PATIENCE, PATIENCE, PATIENCE))
    breaker = BreakerSettings(failures=99)
    upstream = Upstream("vllm", urls, engine=engine, timeouts=timeouts, api_key=key, breaker=breaker)
    try:
        async with serve(Errors(Relay(upstream, **how))) as url:
            yield url
    finally:
        await engine.aclose()


@asynccontextmanager
async def between(script: object, **how: object) -> AsyncIterator[tuple[Client, ScriptedUpstream]]:
    """A raw client in front of a gate in front of an upstream that runs `script`."""
    async with ScriptedUpstream(script) as upstream, gate(upstream.url, **how) as url, connect(url) as client:
        yield client, upstream


async def echo(peer: Peer) -> None:
    """Answer each request with its own head and body."""
    while True:
        head, body = await peer.request()
        await peer.answer(head + body)


async def test_request_goes_up_as_it_came_but_for_what_is_the_gates() -> None:
    request = (
        b"PROPFIND /v1/a%20b/~x?q=%2F..%2f&&z=%zz HTTP/1.1\r\nHost: gate\r\nX-A: 1\r\nAuthorization: Bearer mine\r\n"
        b"x-api-key: mine\r\nCookie: a=1; access_token=mine\r\nX-A: 2\r\nTE: trailers\r\nConnection: te, x-b\r\n"
        b"X-B: gone\r\nX-Request-Id: abc\r\nContent-Length: 3\r\n\r\n\x00\xff\n"
    )
    async with between(echo, key="sk-its") as (client, upstream):
        await client.send(request)
        _, seen = await client.response()
    assert seen == (
        b"PROPFIND /v1/a%%20b/~x?q=%%2F..%%2f&&z=%%zz HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
        b"x-a: 1\r\ncookie: a=1\r\nx-a: 2\r\nx-request-id: abc\r\n"
        b"authorization: Bearer sk-its\r\ncontent-length: 3\r\n\r\n\x00\xff\n" % upstream.port
    )


async def test_answer_comes_down_as_it_came() -> None:
    """An error body, duplicated headers and odd bytes are none of the gate's business."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 429 Whatever\r\nServer: vllm\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-B: \xe9 \t x\r\n"
            b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n{\x00\xff}"
        )

    async with between(script) as (client, _):
        await client.send(POST)
        head, body = await client.response()
    assert head == (
        b"HTTP/1.1 429 Too Many Requests\r\nserver: vllm\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-b: \xe9 \t x\r\n"
        b"content-length: 4\r\n\r\n"
    )
    assert body == b"{\x00\xff}"


header_values = st.text('azAZ09 ,;=%"\xa0\xff', max_size=12).map(
    lambda text: text.strip(" ").encode("latin-1")
)


@given(
    body=st.binary(max_size=300),
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    values=st.lists(header_values, max_size=4),
    chunked=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_bytes_survive_the_round_trip(
    body: bytes, pieces: list[bytes], values: list[bytes], chunked: bool
) -> None:
    """Any body, up whole or chunked, and any chunked answer arrive as they were sent, with the values of headers."""

    async def round_trip() -> None:
        seen = []

        async def script(peer: Peer) -> None:
            seen.append(await peer.request())
            await peer.send(b"HTTP/1.1 200 OK\r\n" + lines + b"transfer-encoding: chunked\r\n\r\n")
            for piece in [*pieces, b""]:
                await peer.chunk(piece)

        lines = b"".join(b"x-v: %b\r\n" % value for value in values)
        async with between(script) as (client, _):
            if chunked:
                wire = (
                    b"".join(b"%x\r\n%b\r\n" % (1, body[i : i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
                )
                framing = b"transfer-encoding: chunked"
            else:
                wire, framing = body, b"content-length: %d" % len(body)
            await client.send(b"POST /x HTTP/1.1\r\nhost: a\r\n" + lines + framing + b"\r\n\r\n" + wire)
            head = await client.until(b"\r\n\r\n")
            answer = await client.until(b"0\r\n\r\n") if not pieces else b""
            while pieces and not answer.endswith(b"\r\n0\r\n\r\n"):
                answer += await client.until(b"\n")
        assert seen[0][1] == body
        assert seen[0][0].count(b"\r\nx-v: ") == len(values)
        assert lines in seen[0][0]
        assert lines in head
        assert unchunked(answer) == b"".join(pieces)

    asyncio.run(round_trip())


def unchunked(wire: bytes) -> bytes:
    body = b""
    while True:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            assert wire == b"\r\n"
            return body
        body, wire = body + wire[:size], wire[size + 2 :]


async def test_each_chunk_is_forwarded_when_it_arrives(engine_class: type) -> None:
    """The upstream sends an event only after the client has seen the one before."""
    seen = asyncio.Semaphore(0)
    events = [b"data: %d\n\n" % number for number in range(5)]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for event in events:
            await peer.chunk(event)
            await seen.acquire()
        await peer.chunk(b"")

    async with between(script, engine_class=engine_class) as (client, _):
        await client.send(POST)
        await client.until(b"\r\n\r\n")
        for event in events:
            assert event in await client.until(b"\n\n\r\n")
            seen.release()
        assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_head_of_an_answer_does_not_wait_for_its_body() -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await seen.wait()
        await peer.chunk(b"")

    async with between(script) as (client, _):
        await client.send(POST)
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        seen.set()
        await client.until(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "leave", [Client.close, Client.reset, Client.half_close], ids=["fin", "rst", "half-close"]
)
@pytest.mark.parametrize("streaming", [False, True], ids=["waiting", "streaming"])
async def test_client_that_leaves_aborts_the_upstream(
    engine_class: type, leave: object, streaming: bool
) -> None:
    """At once, whether the upstream has answered or not, and the replica is given back."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if streaming:
            await peer.send(STREAM)
            await peer.chunk(b"data: 1\n\n")
        asked.set()
        await peer.gone()
        closed.set()

    async with between(script, engine_class=engine_class) as (client, _):
        await client.send(POST)
        await asked.wait()
        if streaming:
            await client.until(b"\n\n\r\n")
        leave(client)
        async with asyncio.timeout(SOON):
            await closed.wait()


@pytest.mark.parametrize("leave", [Client.close, Client.reset], ids=["fin", "rst"])
async def test_client_that_leaves_during_its_upload_aborts_the_upstream(
    engine_class: type, leave: object
) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        asked.set()
        await peer.gone()
        closed.set()

    async with between(script, engine_class=engine_class) as (client, _):
        await client.send(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\npart")
        await asked.wait()
        leave(client)
        async with asyncio.timeout(SOON):
            await closed.wait()


async def test_client_that_has_left_before_its_request_is_relayed_costs_the_upstream_nothing() -> None:
    asked = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async with ScriptedUpstream(echo) as server:
        engine = HttptoolsEngine()
        relay = Relay(Upstream("vllm", [server.url], engine=engine))
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
        }
        await relay(scope, receive, asked.append)
        assert (server.connections, asked) == (0, [])


@pytest.mark.parametrize("streaming", [False, True], ids=["waiting", "streaming"])
async def test_cancelled_request_aborts_the_upstream_and_stays_cancelled(streaming: bool) -> None:
    """The server that shuts down sees its cancellation through."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if streaming:
            await peer.send(STREAM)
        asked.set()
        await peer.gone()
        closed.set()

    messages = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: object) -> None:
        pass

    async with ScriptedUpstream(script) as server:
        engine = HttptoolsEngine()
        upstream = Upstream("vllm", [server.url], engine=engine)
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
        }
        task = asyncio.ensure_future(Relay(upstream)(scope, messages.get, send))
        await asked.wait()
        task.cancel()
        async with asyncio.timeout(SOON):
            await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.state()[0].in_flight == 0
        await engine.aclose()


async def test_layer_above_is_not_cancelled_inside_its_send() -> None:
    """It may be writing its books when the client leaves; the upstream is closed all the same."""
    closed, written = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.gone()
        closed.set()

    messages = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: dict[str, object]) -> None:
        messages.put_nowait({"type": "http.disconnect"})
        await closed.wait()
        written.set()

    async with ScriptedUpstream(script) as server:
        engine = HttptoolsEngine()
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
        }
        async with asyncio.timeout(PATIENCE):
            await Relay(Upstream("vllm", [server.url], engine=engine))(scope, messages.get, send)
        assert written.is_set()
        await engine.aclose()


@pytest.mark.parametrize(
    ("head", "cut"),
    [
        (STREAM, Peer.close),
        (STREAM, Peer.reset),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", Peer.close),
    ],
    ids=["chunked-fin", "chunked-rst", "content-length"],
)
async def test_answer_that_breaks_off_is_seen_to_be_cut(
    head: bytes, cut: object, caplog: pytest.LogCaptureFixture
) -> None:
    """No last chunk, a closed connection, one line in the log and no traceback."""

    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        await (peer.chunk(b"data: 1\n\n") if head is STREAM else peer.send(b"data: 1\n\n"))
        await seen.wait()
        cut(peer)

    async with between(script) as (client, _):
        await client.send(POST)
        got = await client.until(b"1\n\n")
        seen.set()
        got += await client.rest()
    assert b"data: 1\n\n" in got
    assert b"0\r\n\r\n" not in got.removeprefix(head)
    ours = [record for record in caplog.records if record.name == "llmgate.proxy"]
    assert [record.levelno for record in ours] == [logging.WARNING]
    assert "vllm" in ours[0].getMessage()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\nX-", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000],
    ids=["nothing", "half-head", "garbage", "endless-header"],
)
async def test_upstream_that_does_not_answer_in_http_is_502(data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    async with between(script) as (client, upstream):
        await client.send(POST)
        head, body = await client.response()
        assert upstream.connections == 1
    assert head.startswith(b"HTTP/1.1 502")
    assert b'"code":"upstream_error"' in body


async def test_upstream_that_never_answers_is_504() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with between(script, timeouts=Timeouts(PATIENCE, first_byte=0.05)) as (client, _):
        await client.send(POST)
        assert (await client.response())[0].startswith(b"HTTP/1.1 504")


async def test_replica_that_refuses_is_passed_over(engine_class: type) -> None:
    async with ScriptedUpstream(echo) as upstream:
        urls = [await refused_url(), upstream.url, await refused_url()]
        async with gate(*urls, engine_class=engine_class) as url, connect(url) as client:
            for _ in range(4):
                await client.send(POST)
                assert (await client.response())[0].startswith(b"HTTP/1.1 200")


async def test_all_replicas_refusing_is_502() -> None:
    async with gate(await refused_url()) as url, connect(url) as client:
        await client.send(POST)
        assert (await client.response())[0].startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize(
    "path",
    [b"/v1/../metrics", b"/v1/..", b"/./v1", b"/v1/%2e%2E/metrics", b"/v1/.%2e/x", b"/v1/..;a/x", b"/v1/a%2fb",
     b"/v1/a%2Fb", b"/v1/a%5cb", b"/v1/a\\..\\b", b"/v1/a%00", b"/v1/chat/completions%3f/embeddings",
     b"/v1/chat/completions%23/score"],
)  # fmt: skip
async def test_ambiguous_path_is_refused(path: bytes) -> None:
    """A route lets through what it names: the upstream must not read another path out of it."""
    async with between(echo) as (client, upstream):
        await client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        head, body = await client.response()
        assert upstream.connections == 0
    assert head.startswith(b"HTTP/1.1 400")
    assert b"dot segments" in body


async def test_ambiguous_path_is_refused_however_often_it_is_asked_for() -> None:
    """Judged paths are remembered, and only those that pass."""
    async with between(echo) as (client, upstream):
        for path, status in [(b"/v1/x", b"200"), (b"/v1/../x", b"400")] * 3:
            await client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
            assert (await client.response())[0].startswith(b"HTTP/1.1 " + status)
        assert upstream.connections == 1


@pytest.mark.parametrize(
    "path", [b"/v1/..a", b"/v1/a..", b"/v1/.../x", b"/v1/%252e%252e/x", b"/v1/x.", b"//v1//x/", b"/v1/%2"]
)
async def test_unambiguous_path_goes_up_as_it_is(path: bytes) -> None:
    async with between(echo) as (client, _):
        await client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        _, seen = await client.response()
    assert seen.startswith(b"GET %b HTTP/1.1\r\n" % path)


@pytest.mark.parametrize(
    ("path", "target"),
    [(b"/llm/v1/models?a=b", b"/api/v1/models?a=b"), (b"/llm?a", b"/api?a"), (b"/llm/", b"/api/")],
)
async def test_prefix_is_replaced(path: bytes, target: bytes) -> None:
    async with between(echo, strip_prefix="/llm", upstream_path="/api/") as (client, _):
        await client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        _, seen = await client.response()
    assert seen.startswith(b"GET %b HTTP/1.1\r\n" % target)


async def test_prefix_alone_becomes_the_root() -> None:
    async with between(echo, strip_prefix="/llm") as (client, _):
        await client.send(b"GET /llm HTTP/1.1\r\nhost: a\r\n\r\n")
        _, seen = await client.response()
    assert seen.startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("path", [b"/%6clm/v1", b"/other", b"/llmx/v1"])
async def test_path_outside_the_prefix_is_refused(path: bytes) -> None:
    async with between(echo, strip_prefix="/llm") as (client, upstream):
        await client.send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path)
        assert (await client.response())[0].startswith(b"HTTP/1.1 400")
        assert upstream.connections == 0


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
async def test_methods_that_would_show_or_tunnel_are_refused(method: bytes) -> None:
    """TRACE would send the upstream's key back to the caller."""
    async with between(echo, key="sk-its") as (client, upstream):
        await client.send(
            b"%b %b HTTP/1.1\r\nhost: a\r\n\r\n" % (method, b"a:1" if method == b"CONNECT" else b"/")
        )
        answer = await client.until(b"\r\n")
        assert answer.startswith((b"HTTP/1.1 405", b"HTTP/1.1 400"))
        assert upstream.connections == 0


async def test_client_may_be_told_of() -> None:
    async with between(echo, forwarded=True) as (client, _):
        await client.send(b"GET / HTTP/1.1\r\nhost: gate.example\r\n\r\n")
        _, seen = await client.response()
    for line in (
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: http",
        b"x-forwarded-host: gate.example",
    ):
        assert b"\r\n" + line + b"\r\n" in seen


async def test_an_upstream_may_get_the_gates_own_request_id() -> None:
    """llama-cpp-python answers 400 to one that is no UUID (tests/data/captures, reqid.txt)."""
    async with between(echo, own_request_id=True) as (client, _):
        await client.send(b"GET / HTTP/1.1\r\nhost: gate.example\r\nx-request-id: my-id-123\r\n\r\n")
        _, seen = await client.response()
    assert b"my-id-123" not in seen
    (sent,) = [line for line in seen.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert uuid.UUID(sent.partition(b": ")[2].decode())


@pytest.mark.parametrize("wire", [b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                                  b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
                                  b"content-length: 5\r\ncontent-length: 6\r\n\r\n12345",
                                  b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"])  # fmt: skip
async def test_request_with_contradicting_framing_is_no_way_to_smuggle_another(wire: bytes) -> None:
    """RFC 9112 6.3: refused or the connection closed; the bytes behind it are never a request upstream."""
    seen = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append((await peer.request())[0])
            await peer.answer()

    async with between(script) as (client, _):
        await client.send(
            b"POST /a HTTP/1.1\r\nhost: a\r\n" + wire + b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        )
        assert (await client.rest()).count(b"HTTP/1.1 ") == 1
    assert not [head for head in seen if b"smuggled" in head]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with between(echo) as (client, _):
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(5)))
        for number in range(5):
            _, seen = await client.response()
            assert seen.startswith(b"GET /%d " % number)


async def test_connections_are_kept_on_both_sides() -> None:
    async with between(echo) as (client, upstream):
        for _ in range(5):
            await client.send(POST)
            assert b"\r\nconnection:" not in (await client.response())[0]
        assert upstream.connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 1000\r\n\r\n"),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ],
    ids=["head-length", "head-chunked", "204", "304", "103"],
)
async def test_answer_without_body_leaves_the_client_connection_in_step(method: bytes, answer: bytes) -> None:
    """The next request on the same connection gets the next answer, and not one byte comes before it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.request()
        await peer.answer(b"next")

    async with between(script) as (client, _):
        await client.send(method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        assert head.split(b" ")[1] in answer
        assert (b"content-length: 1000" in head) == (method == b"HEAD" and b"1000" in answer)
        await client.send(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n")
        next_head, _ = await client.response()
        assert next_head.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_uploads_stream_up_while_they_come(engine_class: type) -> None:
    """The second chunk is sent only after the upstream has the first."""
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        got = b""
        while b"one" not in got:
            got += await peer.reader.read(100)
        arrived.set()
        while b"two" not in got:
            got += await peer.reader.read(100)
        await peer.answer(b"done", headers=b"connection: close\r\n")

    async with between(script, engine_class=engine_class) as (client, _):
        await client.send(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await arrived.wait()
        await client.send(b"3\r\ntwo\r\n0\r\n\r\n")
        assert (await client.response())[1] == b"done"


async def test_early_refusal_of_an_upload_reaches_the_client() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.answer(b"too much", status=b"413 Content Too Large")
        await peer.gone()

    async with between(script) as (client, _):
        await client.send(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\npart")
        head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 413")
    assert body == b"too much"


async def test_expectation_is_answered_by_the_gate_and_not_passed_on() -> None:
    async with between(echo) as (client, _):
        await client.send(b"POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"{}")
        _, seen = await client.response()
    assert b"expect" not in seen


async def test_slow_client_stops_the_upstream() -> None:
    """The gate buffers a bounded part of an answer, however long it is."""
    total, sent = 64 << 20, 0
    piece = bytes(1 << 16)

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(piece)
            sent += len(piece)

    async with between(script) as (client, _):
        client.writer.transport.pause_reading()
        await client.send(POST)
        await settled(lambda: sent)
        assert sent < total // 2
        client.writer.transport.resume_reading()
        await client.until(b"\r\n\r\n")
        assert len(await client.reader.readexactly(total)) == total


async def test_websocket_is_refused_without_a_word_to_the_upstream() -> None:
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message["type"])

    relay = Relay(Upstream("vllm", ["http://127.0.0.1:9"], engine=HttptoolsEngine()))
    await relay({"type": "websocket"}, None, send)
    assert sent == ["websocket.close"]


async def test_exchange_is_told_the_upstream() -> None:
    exchange = Exchange(id="7", started=0)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    relay = Relay(Upstream("vllm", [await refused_url()], engine=HttptoolsEngine()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
    }
    await relay({**scope, "llmgate": exchange}, receive, send)
    assert (exchange.upstream, exchange.refused, sent[0]["status"]) == ("vllm", "upstream", 502)


async def test_httpx_client_is_content_with_streams() -> None:
    """A common client reads a stream through the gate to its proper end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in (b": ping\n\n", b"data: {}\n\n", b"data: [DONE]\n\n", b""):
            await peer.chunk(piece)

    async with ScriptedUpstream(script) as upstream, gate(upstream.url) as url, httpx.AsyncClient() as http:
        response = await http.post(url + "/v1/x", json={})
    assert response.content == b": ping\n\ndata: {}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("framing", ["whole", "length", "chunked"])
async def test_a_body_over_the_limit_is_refused_however_it_comes(engine_class: type, framing: str) -> None:
    """Also where no layer above reads the body: what is only seen as it comes is broken off at the limit."""

    async def reading(peer: Peer) -> None:
        await peer.reader.read()

    size = 100 if framing == "whole" else 300_000
    async with between(reading, engine_class=engine_class, max_body=size - 1) as (client, _):
        if framing == "chunked":
            head = b"POST /x HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"
            await client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
        else:
            await client.send(
                b"POST /x HTTP/1.1\r\nhost: g\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
            )
        assert (await client.until(b"\r\n")).startswith(b"HTTP/1.1 413 ")
