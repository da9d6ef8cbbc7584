"""What every engine does alike, over real sockets, against an upstream that sends exact bytes."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httptools
import httpx
import pytest
from servers import PATIENCE, Peer, ScriptedUpstream, refused_url, settled

from llmgate.errors import ConfigError
from llmgate.proxy.engines import httptools_engine
from llmgate.proxy.engines.base import (
    ConnectFailed,
    ConnectTimedOut,
    Engine,
    FirstByteTimedOut,
    IdleTimedOut,
    Origin,
    Timeouts,
    UpstreamBroke,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
)
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.engines.httpx_engine import ERRORS, HttpxEngine, translate

GET = UpstreamRequest("GET", b"/", [])
POST = UpstreamRequest("POST", b"/v1/x?q=%20a&b", [(b"X-A", b"1"), (b"x-a", b"2")], b"ping")
QUICK = Timeouts(connect=PATIENCE, first_byte=0.05, idle=0.05)
PATIENT = Timeouts(connect=PATIENCE, first_byte=PATIENCE, idle=PATIENCE)


async def whole(response: UpstreamResponse) -> bytes:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    assert response.ended
    return b"".join(pieces)


@asynccontextmanager
async def saying(data: bytes, *, then_close: bool = True) -> AsyncIterator[Origin]:
    """An upstream that answers each request with exactly `data`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if not then_close:
            await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        yield Origin.parse(upstream.url)


async def test_request_arrives_byte_for_byte(engine: Engine) -> None:
    """Target, header case, order and duplicates are the caller's; Host and framing are the engine's."""
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.answer(b"pong")

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url + "/base/"), POST, PATIENT)
        assert await whole(response) == b"pong"
    head, body = seen[0]
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /base/v1/x?q=%20a&b HTTP/1.1"
    assert [lines[1].lower(), *lines[2:4]] == [b"host: 127.0.0.1:%d" % upstream.port, b"X-A: 1", b"x-a: 2"]
    assert [line.lower() for line in lines[4:]] == [b"content-length: 4", b"", b""]
    assert body == b"ping"


async def test_answer_comes_back_byte_for_byte(engine: Engine) -> None:
    """Header lines keep order and duplicates, their names come in lower case; nothing is decoded."""
    async with saying(
        b"HTTP/1.1 418 Odd\r\nSet-Cookie: a=1\r\nX-B: \xe9\r\nset-cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nraw"
    ) as origin:
        response = await engine.send(origin, GET, PATIENT)
        assert response.status == 418
        assert response.headers == [
            (b"set-cookie", b"a=1"),
            (b"x-b", b"\xe9"),
            (b"set-cookie", b"b=2"),
            (b"content-encoding", b"gzip"),
            (b"content-length", b"3"),
        ]
        assert await whole(response) == b"raw"


@pytest.mark.parametrize(
    ("head", "wire", "body"),
    [
        (b"content-length: 5", b"hello", b"hello"),
        (b"transfer-encoding: chunked", b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (b"connection: close", b"hello", b"hello"),
        (b"content-length: 0", b"", b""),
    ],
    ids=["content-length", "chunked-with-trailer", "until-close", "empty"],
)
async def test_every_framing_is_read(engine: Engine, head: bytes, wire: bytes, body: bytes) -> None:
    async with saying(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + wire) as origin:
        assert await whole(await engine.send(origin, GET, PATIENT)) == body


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_statuses_without_body_end_with_their_head(engine: Engine, status: bytes) -> None:
    data = b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n"
    async with saying(data, then_close=False) as origin:
        assert await whole(await engine.send(origin, GET, PATIENT)) == b""


async def test_answer_to_head_ends_with_its_head_and_the_connection_is_used_again(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        await peer.request()
        await peer.answer(b"next")

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        response = await engine.send(origin, UpstreamRequest("HEAD", b"/", []), PATIENT)
        assert (b"content-length", b"1000") in response.headers
        assert await whole(response) == b""
        assert await whole(await engine.send(origin, GET, PATIENT)) == b"next"
        assert upstream.connections == 1


async def test_interim_answers_are_skipped(engine: Engine) -> None:
    async with saying(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    ) as origin:
        response = await engine.send(origin, GET, PATIENT)
        assert (response.status, response.headers) == (200, [(b"content-length", b"2")])
        assert await whole(response) == b"ok"


async def test_connection_is_reused_until_the_upstream_says_close(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        for headers in (b"", b"", b"connection: close\r\n"):
            await peer.request()
            await peer.answer(b"x", headers=headers)
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        origin = Origin.parse(upstream.url)
        for _ in range(6):
            assert await whole(await engine.send(origin, POST, PATIENT)) == b"x"
        assert upstream.connections == 2


async def test_a_piece_is_given_when_it_arrives(engine: Engine) -> None:
    """The upstream sends the second piece only after the first was read."""
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.chunk(b"one")
        await read.wait()
        await peer.chunk(b"two")
        await peer.chunk(b"")

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url), GET, PATIENT)
        assert await response.read() == b"one"
        assert not response.ended
        read.set()
        assert await whole(response) == b"two"


@pytest.mark.parametrize("length", [None, 6])
async def test_an_iterated_body_goes_out_as_it_comes(engine: Engine, length: int | None) -> None:
    """Chunked, or with the announced length; the second piece is made only after the first has arrived."""
    arrived = asyncio.Event()
    heads = []

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await arrived.wait()
        yield b"def"

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        got = b""
        while b"abc" not in got:
            got += await peer.reader.read(100)
        arrived.set()
        while b"def" not in got:
            got += await peer.reader.read(100)
        await peer.answer(b"got it", headers=b"connection: close\r\n")

    async with ScriptedUpstream(script) as upstream:
        request = UpstreamRequest("PUT", b"/", [], body(), length)
        assert await whole(await engine.send(Origin.parse(upstream.url), request, PATIENT)) == b"got it"
    expected = b"transfer-encoding: chunked" if length is None else b"content-length: 6"
    assert expected in heads[0].lower()


async def test_error_of_the_body_iterator_passes_through(engine: Engine) -> None:
    """The engine hides nothing of what its caller's own code raised, and closes the connection."""
    closed = asyncio.Event()

    class GoneError(Exception):
        pass

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise GoneError

    async def script(peer: Peer) -> None:
        await peer.gone()
        closed.set()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(GoneError):
            await engine.send(Origin.parse(upstream.url), UpstreamRequest("PUT", b"/", [], body()), PATIENT)
        async with asyncio.timeout(PATIENCE):
            await closed.wait()


async def test_abort_closes_the_connection(engine: Engine) -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
        await peer.gone()
        closed.set()

    async with ScriptedUpstream(script) as upstream:
        response = await engine.send(Origin.parse(upstream.url), GET, PATIENT)
        assert await response.read() == b"12345"
        response.abort()
        response.abort()
        async with asyncio.timeout(PATIENCE):
            await closed.wait()
        with pytest.raises(UpstreamBroke):
            await response.read()


async def test_abort_ends_a_read_that_waits(engine: Engine) -> None:
    """At once: who aborts need not be who reads."""
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", then_close=False) as origin:
        response = await engine.send(origin, GET, PATIENT)
        assert await response.read() == b"abc"
        reading = asyncio.ensure_future(response.read())
        await settled(lambda: not reading.done())
        response.abort()
        with pytest.raises(UpstreamBroke):
            await reading


async def test_cancelling_send_closes_the_connection(engine: Engine) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()
        closed.set()

    async with ScriptedUpstream(script) as upstream:
        task = asyncio.ensure_future(engine.send(Origin.parse(upstream.url), GET, PATIENT))
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            task.cancel()
            await closed.wait()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_refused_connection_is_safe_to_fail_over(engine: Engine) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await engine.send(Origin.parse(await refused_url()), GET, PATIENT)
    assert not caught.value.sent


async def test_connection_that_is_never_accepted_times_out(engine: Engine) -> None:
    """A listener with a full backlog drops the handshake."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        origin = Origin("http", "127.0.0.1", full.getsockname()[1])
        try:
            with pytest.raises(ConnectTimedOut) as caught:
                await engine.send(origin, GET, Timeouts(connect=0.05, first_byte=PATIENCE))
        finally:
            for filler in fillers:
                filler.close()
    assert not caught.value.sent


async def test_silence_before_the_head_is_a_first_byte_timeout(engine: Engine) -> None:
    """Interim answers and half a head are silence too."""
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Slow: "
    async with saying(data, then_close=False) as origin:
        with pytest.raises(FirstByteTimedOut) as caught:
            await engine.send(origin, GET, QUICK)
    assert caught.value.sent


async def test_silence_within_the_body_is_an_idle_timeout_after_what_came(engine: Engine) -> None:
    async with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", then_close=False) as origin:
        response = await engine.send(origin, GET, Timeouts(PATIENCE, PATIENCE, idle=0.05))
        assert await response.read() == b"abc"
        with pytest.raises(IdleTimedOut):
            await response.read()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Half: ",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 700 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: %s\r\n" % (b"a" * 1000) * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 10_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    ],
    ids=["nothing", "half-head", "garbage", "bad-status", "status-700", "upgrade", "two-lengths", "many-headers",
         "endless-header", "endless-interim"],
)  # fmt: skip
async def test_no_answer_or_garbage_is_broken(engine: Engine, data: bytes) -> None:
    if isinstance(engine, HttpxEngine) and data.startswith(b"HTTP/1.1 100"):
        pytest.skip("h11 reads interim answers for as long as they come: bounded by the first byte's timeout")
    async with saying(data) as origin:
        with pytest.raises(UpstreamBroke) as caught:
            await engine.send(origin, GET, PATIENT)
    assert caught.value.sent


@pytest.mark.parametrize(
    ("head", "wire"),
    [
        (b"content-length: 9", b"abc"),
        (b"transfer-encoding: chunked", b"3\r\nabc\r\n"),
        (b"transfer-encoding: chunked", b"3\r\nabc\r\nxyz\r\n"),
    ],
    ids=["short-of-content-length", "no-last-chunk", "bad-chunk"],
)
async def test_a_cut_answer_gives_what_came_and_then_breaks(engine: Engine, head: bytes, wire: bytes) -> None:
    async with saying(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + wire) as origin:
        response = await engine.send(origin, GET, PATIENT)
        got = b""
        with pytest.raises(UpstreamBroke):
            while piece := await response.read():
                got += piece
        assert got == b"abc"
        assert not response.ended


async def test_plain_text_on_an_https_port_is_a_failed_connection(engine: Engine) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(ConnectFailed):
            await engine.send(Origin("https", "127.0.0.1", upstream.port), GET, PATIENT)


def leaves(kind: type) -> set[type]:
    return {kind}.union(*(leaves(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(leaves(httpx.TransportError), key=lambda kind: kind.__name__))
def test_every_transport_error_of_httpx_is_translated(kind: type[httpx.TransportError]) -> None:
    """Only errors from before a connection count as not sent."""
    before = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    translated = translate(kind("x"))
    assert isinstance(translated, UpstreamError)
    assert translated.sent is not issubclass(kind, (*before, httpx.UnsupportedProtocol))
    assert set(ERRORS) <= leaves(httpx.TransportError)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        socket.gaierror(),
        ssl.SSLError(),
        ssl.SSLCertVerificationError(),
        OSError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_connect_error_of_asyncio_is_translated(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loop:
        async def create_connection(self, *_: object, **__: object) -> None:
            raise error

    fake = SimpleNamespace(get_running_loop=Loop, timeout=asyncio.timeout, Event=asyncio.Event)
    monkeypatch.setattr(httptools_engine, "asyncio", fake)
    with pytest.raises(ConnectFailed) as caught:
        await HttptoolsEngine().send(Origin("http", "x", 1), GET, PATIENT)
    assert not caught.value.sent


def test_every_error_of_httptools_is_translated() -> None:
    """`data_received` catches two kinds; no other error of httptools is outside of them."""
    kinds = {
        kind for kind in vars(httptools).values() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert kinds
    outside = {
        kind
        for kind in kinds
        if not issubclass(kind, httptools.HttpParserError | httptools.HttpParserUpgrade)
    }
    assert outside <= {httptools.HttpParserError.__base__}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a", (b"a", 80, b"")),
        ("https://A.example/v1/", (b"a.example", 443, b"/v1")),
        ("http://[::1]:8000", (b"[::1]:8000", 8000, b"")),
        ("https://bücher.example:8443", (b"xn--bcher-kva.example:8443", 8443, b"")),
    ],
)
def test_origin_is_parsed(url: str, target: tuple[bytes, int, bytes]) -> None:
    origin = Origin.parse(url)
    assert (origin.authority, origin.port, origin.path) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:8000", "scheme"),
        ("ftp://a", "scheme"),
        ("http://", "no host"),
        ("http://a:99999", "ort"),
        ("http://a:0", "port 0"),
        ("http://user:secret@a", "api_key"),
        ("http://a?x=1", "query"),
        ("http://a#x", "query"),
        ("http://a b", "space"),
        ("http://a..b", "host"),
        ("http://a/ü", "percent"),
    ],
)
def test_bad_origin_is_refused_with_the_remedy(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        Origin.parse(url)
    assert "write http" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_request_keeps_keys_and_prompts_out_of_its_repr() -> None:
    request = UpstreamRequest("POST", b"/x", [(b"authorization", b"Bearer sk-secret")], b"prompt")
    assert repr(request) == "UpstreamRequest(POST b'/x')"
