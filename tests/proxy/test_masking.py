"""A key in what a backend answers, wherever the pieces are cut."""

import asyncio
import gzip
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Peer, ScriptedUpstream, connect, serve

from llmgate.errors import AnswerCut
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.masking import Masker, Secrets
from llmgate.proxy.relay import Relay
from llmgate.proxy.upstreams import Upstream

SECRET = b"sk-abc/abd"
OTHER = b"second-secret"
SECRETS = Secrets([SECRET, OTHER])
SPELLINGS = [SECRET, rb"sk-abc\/abd", b"sk-abc%2Fabd", OTHER]


@given(
    text=st.lists(st.sampled_from([*SPELLINGS, b"sk-abc", b"s", b"x", b"abd", b" ", b"\\"])),
    cuts=st.lists(st.integers(1, 9)),
)
def test_however_it_is_cut_the_key_is_gone_and_the_rest_is_there(text: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(text)
    masker = Masker(SECRETS)
    shown, rest = b"", whole
    for cut in cuts:
        shown += masker.feed(rest[:cut])
        rest = rest[cut:]
    shown += masker.feed(rest) + masker.flush()
    assert shown == SECRETS.masked(whole)
    assert len(shown) == len(whole)
    assert not any(spelling in shown for spelling in SPELLINGS)


def test_nothing_waits_that_cannot_begin_the_key() -> None:
    masker = Masker(SECRETS)
    event = b"data: hello\n\n"
    assert masker.feed(event) is event
    assert masker.feed(b"key: sk-a") == b"key: "
    assert masker.feed(b"z") == b"sk-az"


def test_without_secrets_nothing_is_done() -> None:
    assert not Secrets()
    assert Secrets().masked(SECRET) is SECRET


@pytest.mark.parametrize("spelling", [SECRET, quote(SECRET, safe="").encode()])
async def test_a_stream_that_quotes_the_gates_key_in_its_middle_does_not_show_it(spelling: bytes) -> None:
    """Under 200, in an event that comes in two pieces; and in a header."""
    parts = b'data: {"error":{"message":"bad key ' + spelling[:5], spelling[5:] + b'"}}\n\n'
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-key: " + SECRET
        await peer.send(head + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.chunk(parts[0])
        await go_on.wait()
        await peer.chunk(parts[1])
        await peer.chunk(b"")

    engine = HttptoolsEngine()
    async with ScriptedUpstream(script) as scripted:
        upstream = Upstream("u", [scripted.url], engine=engine, api_key=SECRET.decode())
        async with serve(Relay(upstream)) as url, connect(url) as client:
            await client.send(b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n")
            seen = await client.until(b"bad key ")
            go_on.set()
            seen += await client.until(b"}}")
    await engine.aclose()
    assert seen.count(b"*") == len(SECRET) + len(spelling)
    assert spelling not in seen and SECRET not in seen


async def test_an_error_that_quotes_the_gates_key_keeps_its_length() -> None:
    body = b'{"error":"bad request from Bearer ' + SECRET + b'"}'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, status=b"400 Bad Request")

    engine = HttptoolsEngine()
    async with ScriptedUpstream(script) as scripted:
        upstream = Upstream("u", [scripted.url], engine=engine, api_key=SECRET.decode())
        async with serve(Relay(upstream)) as url, connect(url) as client:
            await client.send(b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n")
            head, shown = await client.response()
    await engine.aclose()
    assert head.startswith(b"HTTP/1.1 400")
    assert shown == body.replace(SECRET, b"*" * len(SECRET))


async def test_an_error_that_comes_compressed_is_masked_and_goes_out_as_it_reads() -> None:
    """Backends are asked not to compress where something may have to be masked, whatever the caller takes."""
    body = b'{"error":"bad request from Bearer ' + SECRET + b'"}'
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        packed = gzip.compress(body)
        await peer.answer(packed, status=b"400 Bad Request", headers=b"content-encoding: gzip\r\netag: a\r\n")

    engine = HttptoolsEngine()
    async with ScriptedUpstream(script) as scripted:
        upstream = Upstream("u", [scripted.url], engine=engine, api_key=SECRET.decode())
        async with serve(Relay(upstream)) as url, connect(url) as client:
            await client.send(b"GET /v1/x HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
            shown = await client.until(b"\r\n0\r\n\r\n")
    await engine.aclose()
    assert heads[0].lower().count(b"accept-encoding") == 1
    assert b"accept-encoding: identity\r\n" in heads[0].lower()
    assert body.replace(SECRET, b"*" * len(SECRET)) in shown
    assert b"content-encoding" not in shown.lower()
    assert b"etag" not in shown.lower()


def test_what_cannot_be_decoded_is_cut() -> None:
    headers, masker = Masker.of_answer(SECRETS, [(b"Content-Encoding", b"gzip")])
    assert headers == []
    assert masker is not None
    with pytest.raises(AnswerCut):
        masker.feed(b"no gzip at all")
