"""Streams on their way to the client: as they come, and never ended that have not."""

import asyncio

import httpx
import pytest
from servers import Peer, ScriptedUpstream, connect

from plugins.conftest import Running

from .conftest import CHAT, HELLO, Ollama, add


async def begun(peer: Peer) -> None:
    """Tell which model is here as often as it is asked, then answer the first prompt with a stream that says "one"."""
    while b"/models" in (await peer.request())[0].partition(b"\r\n")[0]:
        await peer.answer(b'{"data":[{"id":"llama2"}]}')
    await peer.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    await peer.chunk(b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n')


async def test_an_answer_that_breaks_off_is_500(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Nothing had been sent yet; the ledger knows that it was aborted."""

    async def breaks(peer: Peer) -> None:
        head, _ = await peer.request()
        if b"/models" in head.partition(b"\r\n")[0]:
            await peer.answer(b'{"data":[{"id":"llama2"}]}', headers=b"connection: close\r\n")
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")

    async with ScriptedUpstream(breaks) as server:
        await add(http, admin, server.url)
        answer = await http.post(CHAT, headers=admin, json=HELLO)
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])


async def test_a_stream_is_lines_of_text(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int
) -> None:
    """And the guide's end."""
    answer = await http.post(f"{CHAT}/stream", headers=user, json=HELLO)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == "data: Hello\n\ndata:  there\n\ndata: !\n\ndata: [DONE]\n\n"


async def test_a_chunk_goes_out_when_it_comes(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Before the next one is there."""
    go = asyncio.Event()

    async def slowly(peer: Peer) -> None:
        await begun(peer)
        await go.wait()
        await peer.chunk(b'data: {"choices":[{"delta":{"content":"two"}}]}\n\ndata: [DONE]\n\n')
        await peer.chunk(b"")

    async with ScriptedUpstream(slowly) as server:
        await add(http, admin, server.url)
        async with http.stream("POST", f"{CHAT}/stream", headers=admin, json=HELLO) as answer:
            pieces = answer.aiter_text()
            assert await anext(pieces) == "data: one\n\n"
            go.set()
            assert "".join([piece async for piece in pieces]) == "data: two\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b'data: {"error":{"message":"out of memory"}}\n\n',
        b"data: not JSON\n\n",
        b'data: {"choices":[{"delta":{"content":1}}]}\n\n',
    ],
)
async def test_a_stream_that_does_not_end_well_does_not_look_ended(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama, end: bytes
) -> None:
    """Its connection is closed without the last chunk, and `[DONE]` is not said."""
    ollama.script = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n' + end
    seen = ""
    with pytest.raises(httpx.RemoteProtocolError):
        async with running.http.stream("POST", f"{CHAT}/stream", headers=user, json=HELLO) as answer:
            async for piece in answer.aiter_text():
                seen += piece
    assert seen in ("", "data: Hel\n\n")


async def test_who_leaves_a_stream_ends_it_upstream(running: Running, admin: dict[str, str]) -> None:
    """At once, and the ledger says aborted."""
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        await begun(peer)
        await peer.gone()
        gone.set()

    async with ScriptedUpstream(endless) as server:
        await add(running.http, admin, server.url)
        body = b'{"messages":[{"role":"user","content":"Hi"}],"model":"llama2"}'
        async with connect(running.url) as client:
            await client.send(
                b"POST %b/stream HTTP/1.1\r\nhost: x\r\nauthorization: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (CHAT.encode(), admin["Authorization"].encode(), len(body), body)
            )
            await client.until(b"data: one\n\n")
            client.close()
            async with asyncio.timeout(5):
                await gone.wait()
