"""Chunks that bring text and nothing else are read in one step, and as the long way reads them."""

import json

import pytest

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.usage.meter import meter_for
from llmgate.usage.plain_chunk import MISSES, PlainChunks

PLAIN = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(choice: dict[str, object], **members: object) -> bytes:
    return json.dumps({**PLAIN, "choices": [choice], **members}).encode()


@pytest.mark.parametrize(
    ("choice", "size"),
    [
        ({"index": 0, "delta": {"content": "abc"}, "logprobs": None, "finish_reason": None}, 3),
        ({"index": 2, "delta": {"role": "assistant", "content": "ä", "reasoning_content": "xy"}}, 4),
        ({"index": 0, "text": "abcd"}, 4),
        ({"index": 0, "delta": {}}, 0),
    ],
)
def test_text_is_counted_in_bytes(choice: dict[str, object], size: int) -> None:
    found = PlainChunks().read(chunk(choice))
    assert found is not None
    assert (found.choices[0].index, found.text_bytes) == (choice["index"], size)


@pytest.mark.parametrize(
    "data",
    [
        chunk({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}),
        chunk({"index": 0, "delta": {"tool_calls": [{"function": {"name": "f"}}]}}),
        chunk({"index": 0, "delta": {"content": "a"}}, usage={"prompt_tokens": 1}),
        chunk({"index": 0, "delta": {"content": "a"}}, timings={"prompt_n": 1}),
        chunk({"index": 0, "delta": {"content": "a"}}, error={"message": "no"}),
        chunk({"index": -1, "delta": {"content": "a"}}),
        b'{"choices":[]}',
        b"[DONE]",
        b'{"choices":[{"index":0},{"index":1}]}',
    ],
)
def test_what_brings_anything_else_is_no_plain_chunk(data: bytes) -> None:
    assert PlainChunks().read(data) is None


def test_a_stream_of_other_chunks_is_asked_a_few_times() -> None:
    chunks, plain = PlainChunks(), chunk({"index": 0, "delta": {"content": "a"}})
    for _ in range(MISSES):
        assert chunks.read(b'{"strange":1}') is None
    assert chunks.read(plain) is None


@pytest.mark.parametrize("dialect", ["openai", "generic", "vllm", "llama_server"])
@pytest.mark.parametrize("usage", ["", ',"usage":null'])
def test_a_stream_reads_alike_by_the_short_way_and_the_long_one(dialect: str, usage: str) -> None:
    """A member that nobody knows makes every chunk take the long way."""

    def metered(member: str) -> tuple[bytes, object]:
        request = parse_request(Endpoint.CHAT, b'{"model":"m","stream":true,"messages":[]}')
        meter = meter_for(DIALECTS[dialect], request, status=200, content_type=b"text/event-stream")
        text = '{"index":0,"delta":{"content":"usage \\"usage\\":null"},"finish_reason":null}'
        event = f'data: {{"model":"m"{usage},"choices":[{text}]{member}}}\n\n'
        out = b"".join(meter.feed(event.encode()) for _ in range(8)) + meter.end()
        return out.replace(member.encode() or b"\0", b""), meter.reading(finished=False)

    assert metered("") == metered(',"strange":1')
