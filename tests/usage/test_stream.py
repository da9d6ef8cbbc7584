"""Streams that are only looked at."""

import json

import pytest

from llmgate.backends.dialect import Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.usage.model import Certainty, Reading, Usage

from .streams import LLAMA, OPENAI, VLLM, event, meter


@pytest.mark.parametrize(
    "last",
    [b"data: [DONE]\n\n", *(event({"type": kind}) for kind in ("message_stop", "response.completed"))],
)
def test_a_meter_knows_when_the_client_has_been_told_the_end(last: bytes) -> None:
    """Clients hang up there, though the transport goes on; only a whole event tells."""
    ended = meter(endpoint=Endpoint.RESPONSES)
    ended.feed(last[:-1])
    assert not ended.finished
    ended.feed(last[-1:])
    assert ended.finished


def test_the_rest_of_a_finished_stream_is_its_last_event() -> None:
    """Without the blank line behind it (case stream-without-a-last-blank-line)."""
    ended = meter(endpoint=Endpoint.RESPONSES)
    done = {"type": "response.completed", "response": {"usage": {"input_tokens": 11, "output_tokens": 7}}}
    last = event(done)[:-1]
    assert ended.feed(last) is last
    assert not ended.finished
    assert ended.end() == b""
    assert ended.finished
    assert ended.reading(True) == Reading(Usage(11, 7), Certainty.EXACT)


ANSWER = {"choices": [{"index": 0, "message": {"content": "word " * 20}}], "usage": {"prompt_tokens": 7}}
CHUNKS = [{"choices": [{"index": 0, "delta": {"content": "word "}}]}] * 20
COUNT = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 20}}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ANSWER | {"usage": COUNT["usage"]}).encode(),
        json.dumps(ANSWER | {"usage": COUNT["usage"]}, indent=2).encode(),
        b"".join(json.dumps(each).encode() + b"\n" for each in (*CHUNKS, COUNT)),
    ],
)
def test_what_is_called_a_stream_of_events_and_is_none(body: bytes) -> None:
    """An answer or lines of JSON under the events' type: no field `data`, and counted all the same."""
    for size in (1, 7, len(body)):
        reader = meter(OPENAI, max_tokens=20)
        out = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size)) + reader.end()
        assert out == body
        assert reader.reading(True) == Reading(Usage(7, 20), Certainty.EXACT)


def test_a_placeholder_before_the_text_is_no_count() -> None:
    """Zeros in the first event of a response: who leaves before the last one pays for what has passed."""
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    left = meter(OPENAI, Endpoint.RESPONSES, input="hello")
    left.feed(event({"type": "response.created", "response": {"usage": zeros}}))
    for _ in range(20):
        left.feed(event({"type": "response.output_text.delta", "delta": "word "}))
    assert left.awaits_usage
    for finished in (False, True):
        reading = left.reading(finished)
        assert reading is not None
        assert reading.certainty is Certainty.ESTIMATED
        assert reading.usage.output_tokens >= 20
        assert reading.usage.input_tokens > 0


@pytest.mark.parametrize(
    ("dialect", "endpoint", "waits"),
    [
        (VLLM, Endpoint.CHAT, False),
        (VLLM, Endpoint.MESSAGES, True),
        (LLAMA, Endpoint.RESPONSES, False),
        (LLAMA, Endpoint.MESSAGES, True),
        (OPENAI, Endpoint.CHAT, True),
    ],
)
def test_what_is_known_only_at_the_end_is_waited_for(
    dialect: Dialect, endpoint: Endpoint, waits: bool
) -> None:
    """Where a backend counts while it streams, nothing is; and nothing once the count has come."""
    reader = meter(dialect, endpoint)
    assert reader.awaits_usage is waits
    reader.feed(event({"type": "message_delta", "usage": {"output_tokens": 8}, "choices": []}))
    assert not reader.awaits_usage


def odd(text: bytes) -> bytes:
    return b"data: " + text + b"\n\n"


@pytest.mark.parametrize("dialect", [OPENAI, VLLM, LLAMA])
def test_what_is_json_to_python_alone_is_counted(dialect: Dialect) -> None:
    """Logprobs of minus infinity, in every chunk: the text was free."""
    reader = meter(dialect)
    for word in (b"one", b"two", b"three"):
        piece = odd(b'{"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":{"x":-Infinity}}]}' % word)
        assert reader.feed(piece) == piece
    assert reader.reading(False).usage.output_tokens == 3
    reader.feed(odd(b'{"choices":[],"x":NaN,"usage":{"prompt_tokens":11,"completion_tokens":7}}'))
    reader.feed(odd(b"[DONE]"))
    found = reader.reading(True)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (11, 7)


@pytest.mark.parametrize("text", [b"[" * 5000 + b"]" * 5000, b'{"choices":', b"ping", b'{"a":"\xff'])
def test_what_nobody_can_read_is_a_token_at_least(text: bytes) -> None:
    """And never an answer that was refused before it began, which is free."""
    reader = meter(OPENAI)
    reader.feed(odd(text) * 5 + odd(b"[DONE]"))
    found = reader.reading(True)
    assert (found.usage.output_tokens, found.certainty) == (5, Certainty.ESTIMATED)


def test_comments_and_empty_events_are_nothing() -> None:
    reader = meter(OPENAI)
    reader.feed(b": heartbeat\n\nevent: ping\n\nretry: 5\n\n")
    assert reader.reading(False).usage.output_tokens == 0


def test_an_odd_event_behind_the_count_changes_nothing() -> None:
    reader = meter(OPENAI)
    reader.feed(event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}) + odd(b"bye"))
    assert reader.reading(True) == Reading(Usage(11, 7), Certainty.EXACT)
