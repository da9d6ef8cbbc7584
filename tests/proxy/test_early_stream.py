"""Streams that begin before their backend has answered."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from gates import Running, running
from servers import Peer, connect
from stores import migrated_file, sqlite_url

from llmgate.errors import AnswerCut
from llmgate.proxy.early_stream import LARGEST_ANSWER, EarlyStream
from llmgate.proxy.event_stream import HEARTBEAT

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
EVENTS = [json.dumps(each).encode() for each in (CHUNK, {"choices": [], "usage": USAGE})]
STREAM = b"".join(b"data: %b\n\n" % each for each in [*EVENTS, b"[DONE]"])
ERROR = b'{\n  "error": {"message": "too long"}\n}'

__all__ = ["migrated_file", "sqlite_url"]


class Late:
    """A backend that answers when it is told to."""

    def __init__(self, body: bytes, status: bytes = b"200 OK", kind: bytes = b"text/event-stream") -> None:
        self.go_on = asyncio.Event()
        self.answer = (
            b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-key: 1\r\n\r\n"
            % (status, kind, len(body))
            + body
        )

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            await self.go_on.wait()
            await peer.send(self.answer)


async def ask(served: Running, backend: Late, path: str = "/v1/chat/completions", **more: Any) -> bytes:
    """The whole response, heartbeats taken out, of which there were some before the backend went on."""
    body = {
        "model": "m",
        "stream": True,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        **more,
    }
    async with connect(served.url) as client:
        await client.send(served.request(json.dumps(body).encode(), path=path))
        seen = await client.until(HEARTBEAT)
        backend.go_on.set()
        seen += await client.until(b"\r\n0\r\n\r\n")
    await served.quiet()
    assert seen.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream")
    return re.sub(rb"\r\n[0-9a-f]+\r\n(?:: heartbeat\n\n)?", b"", seen.partition(b"\r\n\r\n")[2])


@pytest.fixture
def store(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


BEATS = {"heartbeat_interval": 0.01}


async def test_a_stream_follows_and_is_counted_as_ever(tmp_path: Path, store: Path) -> None:
    backend = Late(STREAM)
    async with running(tmp_path, store, backend, settings={**BEATS, "dialect": "openai"}) as served:
        seen = await ask(served, backend)
        assert b'"content": "Hi"' in seen and b"data: [DONE]" in seen
        assert await served.records() == [("finished", 11, 7, "exact")]


@pytest.mark.parametrize(
    ("path", "backend", "event"),
    [
        ("/v1/chat/completions", (ERROR, b"400 Bad Request", b"application/json"),
         b'data: {"error":{"message":"too long"}}\n\ndata: [DONE]\n\n'),
        ("/v1/chat/completions", (b"<p>no</p>", b"502 Bad Gateway", b"text/html"),
         b'data: {"error":{"message":"<p>no</p>","type":"api_error","param":null,"code":null}}\n\ndata: [DONE]\n\n'),
        ("/v1/messages", (b'{"type":"error","error":{"type":"overloaded_error"}}', b"529 X", b"application/json"),
         b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
    ],
)  # fmt: skip
async def test_an_error_is_an_event_and_costs_nothing(
    tmp_path: Path, store: Path, path: str, backend: tuple[bytes, bytes, bytes], event: bytes
) -> None:
    late = Late(*backend)
    async with running(tmp_path, store, late, settings=BEATS) as served:
        assert event in await ask(served, late, path)
        ((outcome, *_),) = await served.records()
        assert outcome == "failed"


PLAIN = json.dumps(
    {
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}
        ],
        "usage": USAGE,
    }
).encode()


@pytest.mark.parametrize("asks", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_plain_answer_is_told_as_the_stream_that_was_asked_for(
    tmp_path: Path, store: Path, asks: dict[str, Any]
) -> None:
    """And counted; of its usage a client hears that asked for it."""
    late = Late(PLAIN, kind=b"application/json")
    async with running(tmp_path, store, late, settings={**BEATS, "dialect": "openai"}) as served:
        seen = await ask(served, late, **asks)
        assert await served.records() == [("finished", 11, 7, "exact")]
    *events, done = seen[seen.index(b"data:") :].strip().split(b"\n\n")
    assert done == b"data: [DONE]"
    chunks = [json.loads(event[6:]) for event in events]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas == [{"role": "assistant", "content": "Hi"}, {}]
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == ([USAGE] if asks else [])
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


async def test_a_stream_under_another_name_follows_as_it_is(tmp_path: Path, store: Path) -> None:
    late = Late(STREAM, kind=b"text/plain")
    async with running(tmp_path, store, late, settings={**BEATS, "dialect": "openai"}) as served:
        seen = await ask(served, late)
        assert b'"content": "Hi"' in seen and b"data: [DONE]\n\n" in seen
        assert await served.records() == [("finished", 11, 7, "exact")]


async def test_an_answer_that_is_too_large_to_be_told_as_a_stream_is_cut() -> None:
    began = asyncio.Event()

    async def send(message: Any) -> None:
        began.set()

    early = EarlyStream(send, 0.001)
    await began.wait()
    await early({"type": "http.response.start", "status": 200, "headers": []})
    with pytest.raises(AnswerCut):
        await early({"type": "http.response.body", "body": b"{" * (LARGEST_ANSWER + 1), "more_body": True})


async def test_a_refusal_of_the_gates_own_is_an_event_too(tmp_path: Path, store: Path) -> None:
    """Of a backend that hangs up without a word."""
    go_on = asyncio.Event()

    async def hangs_up(peer: Peer) -> None:
        await peer.request()
        await go_on.wait()
        peer.writer.close()

    async with running(tmp_path, store, hangs_up, settings=BEATS) as served:
        backend = Late(b"")
        backend.go_on = go_on
        assert b'data: {"error":{"message":"The upstream' in await ask(served, backend)


async def test_who_asks_for_no_stream_gets_the_answer_as_it_is(tmp_path: Path, store: Path) -> None:
    late = Late(ERROR, b"400 Bad Request", b"application/json")
    late.go_on.set()
    async with running(tmp_path, store, late, settings=BEATS) as served, connect(served.url) as client:
        await client.send(served.request())
        head, body = await client.response()
    assert head.startswith(b"HTTP/1.1 400") and body == ERROR


async def test_what_is_compressed_cannot_follow() -> None:
    sent: list[Any] = []
    began = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        began.set()

    early = EarlyStream(send, 0.001)
    await began.wait()
    headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
    with pytest.raises(AnswerCut):
        await early({"type": "http.response.start", "status": 200, "headers": headers})
    assert sent[0]["status"] == 200
