"""Upstreams that fail in every way, and clients that leave at every stage: nothing lost, nothing left behind."""

import asyncio

import pytest
from gates import ANSWER, error_of
from servers import Peer, connect

from .conftest import OpenGate
from .test_requests import status_of

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ASK = b'{"model":"small","messages":[],"stream":true,"max_tokens":50}'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'


def event(text: str, tokens: int | None = None) -> bytes:
    """One piece of a streamed chat, with the usage so far where the backend tells it."""
    usage = (
        ""
        if tokens is None
        else f',"usage":{{"prompt_tokens":5,"completion_tokens":{tokens},"total_tokens":{5 + tokens}}}'
    )
    return f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]{usage}}}\n\n'.encode()


async def test_a_stream_is_forwarded_counted_and_written_down(open_gate: OpenGate) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in (event("a"), event("b"), USAGE, b"data: [DONE]\n\n", b""):
            await peer.chunk(piece)

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request(ASK))
        said = await client.until(b"0\r\n\r\n")
        assert b"usage" not in said  # the client has not asked for it
        assert await gate.records() == [("finished", 5, 7, "exact")]


async def test_an_event_may_be_cut_within_a_character(open_gate: OpenGate) -> None:
    whole = event("grüße 🌍") + USAGE + b"data: [DONE]\n\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for at in range(len(whole)):
            await peer.chunk(whole[at : at + 1])
        await peer.chunk(b"")

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request(ASK))
        await client.until(b"\r\n\r\n")
        body = b""
        while (size := int(await client.until(b"\r\n"), 16)) > 0:
            body += (await client.until(b"\r\n") if size < 0 else await client.reader.readexactly(size + 2))[
                :-2
            ]
        assert body == event("grüße 🌍") + b"data: [DONE]\n\n"
        assert await gate.records() == [("finished", 5, 7, "exact")]


async def test_half_a_body_is_a_502_and_recorded(open_gate: OpenGate) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n" + ANSWER
        )
        peer.reset()

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        head, body = await client.response()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert error_of(body)["code"] == "upstream_error"
        await gate.quiet()
        [(outcome, _, _, certainty)] = await gate.records()
        assert (outcome, certainty) != ("finished", "exact")


async def test_half_a_stream_is_seen_to_be_cut_and_charged_for_what_was_seen(open_gate: OpenGate) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(event("a", 1))
        await peer.chunk(event("b", 2))
        peer.reset()

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request(ASK))
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        await gate.quiet()
        assert await gate.records() == [("aborted", 5, 2, "partial")]


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 2", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 200 OK\r\nx\r\n\r\n"]
)
async def test_an_upstream_that_does_not_answer_in_http_is_502_and_costs_nothing(
    open_gate: OpenGate, data: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        head, body = await client.response()
        assert (status_of(head), error_of(body)["code"]) == (502, "upstream_error")
        await gate.quiet()
        assert [record[:3] for record in await gate.records()] in ([], [("failed", 0, 0)])


async def test_an_upstream_that_never_answers_is_504(open_gate: OpenGate) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with open_gate(script, first_byte_timeout=0.1) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        assert status_of((await client.response())[0]) == 504


async def test_an_error_event_within_a_200_passes_as_it_is(open_gate: OpenGate) -> None:
    error = b'data: {"error":{"message":"CUDA out of memory","type":"InternalServerError","code":500}}\n\n'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in (event("a", 1), error, b"data: [DONE]\n\n", b""):
            await peer.chunk(piece)

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request(ASK))
        assert error in await client.until(b"0\r\n\r\n")
        [(_, tokens_in, tokens_out, certainty)] = await gate.records()
        assert (tokens_in, tokens_out, certainty) == (5, 1, "partial")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_upstreams_error_passes_untouched_and_costs_no_tokens(
    open_gate: OpenGate, status: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"object":"error","x":1}', status=b"%d Whatever" % status)

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        head, body = await client.response()
        assert (status_of(head), body) == (status, b'{"object":"error","x":1}')
        await gate.quiet()
        assert await gate.records() == [("failed", 0, 0, "exact")]


# The client leaves.

LEAVE = ["close", "reset", "half_close"]


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("sent", [1, 40, 120, -3])
async def test_a_client_that_leaves_within_its_request_reaches_no_upstream(
    open_gate: OpenGate, how: str, sent: int
) -> None:
    async with open_gate() as gate:
        async with connect(gate.url) as client:
            await client.send(gate.request()[:sent])
            getattr(client, how)()
        await gate.quiet()
        assert gate.upstream.connections == 0
        assert await gate.records() == []


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_leaves_while_it_waits_frees_everything(open_gate: OpenGate, how: str) -> None:
    reached, aborted = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await peer.gone()
        aborted.set()

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        await reached.wait()
        assert gate.held() > 0
        getattr(client, how)()
        await aborted.wait()
        await gate.quiet()
        assert [record[0] for record in await gate.records()] == ["aborted"]


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_leaves_within_a_stream_pays_for_what_it_saw(
    open_gate: OpenGate, how: str
) -> None:
    aborted = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(event("a", 1))
        await peer.gone()
        aborted.set()

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request(ASK))
        await client.until(b'"a"')
        getattr(client, how)()
        await aborted.wait()
        await gate.quiet()
        assert await gate.records() == [("aborted", 5, 1, "partial")]


async def test_a_client_that_leaves_with_requests_pipelined_frees_the_first_one(open_gate: OpenGate) -> None:
    """The server tells a disconnect to the last request of a connection only; the first is the one that runs."""
    reached, aborted = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await peer.gone()
        aborted.set()

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request() * 3)
        await reached.wait()
        client.close()
        await aborted.wait()
        await gate.quiet()
        assert gate.upstream.connections == 1


async def test_a_crowd_that_leaves_at_once_leaves_nothing(open_gate: OpenGate) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.chunk(event("a", 1))
        await peer.gone()

    async def come_and_go() -> None:
        async with connect(gate.url) as client:
            await client.send(gate.request(ASK))
            await client.until(b'"a"')
            client.reset()

    async with open_gate(script) as gate:
        await asyncio.gather(*(come_and_go() for _ in range(50)))
        await gate.quiet()
        assert await gate.records() == [("aborted", 5, 1, "partial")] * 50
