"""What a plain answer says, said in the events of each API."""

import json
from typing import Any

import pytest

from llmgate.backends.endpoint import Endpoint
from llmgate.proxy.late_answer import events_of

USAGE = {"input_tokens": 11, "output_tokens": 7}


def told(endpoint: Endpoint, answer: Any, status: int = 200) -> list[Any]:
    """The data of each event; of a typed one its name is the type."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    events = []
    for event in events_of(endpoint, status, body).decode().removesuffix("\n\n").split("\n\n"):
        *names, data = event.split("\n")
        value = data.removeprefix("data: ")
        events.append(value if value == "[DONE]" else json.loads(value))
        typed = isinstance(events[-1], dict) and "type" in events[-1]
        assert names == ([f"event: {events[-1]['type']}"] if typed else [])
    return events


def test_a_chat_becomes_chunks_whose_calls_have_their_places() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call, call]}
    choice = {"index": 1, "message": message, "finish_reason": "tool_calls"}
    begun, ended, done = told(Endpoint.CHAT, {"id": "x", "choices": [choice]})
    assert begun["id"] == "x"
    assert [each["index"] for each in begun["choices"][0]["delta"]["tool_calls"]] == [0, 1]
    assert begun["choices"][0]["finish_reason"] is None
    assert ended["choices"] == [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]
    assert done == "[DONE]"


def test_a_completion_becomes_a_chunk_for_each_choice_and_one_of_usage() -> None:
    choices = [{"index": each, "text": "a", "finish_reason": "stop"} for each in range(2)]
    *chunks, usage, done = told(Endpoint.COMPLETIONS, {"choices": choices, "usage": USAGE})
    assert [chunk["choices"] for chunk in chunks] == [[choice] for choice in choices]
    assert (usage, done) == ({"choices": [], "usage": USAGE}, "[DONE]")


def test_a_response_becomes_typed_events_in_their_order() -> None:
    part = {"type": "output_text", "text": "Hi", "annotations": []}
    item = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [part]}
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"}
    events = told(
        Endpoint.RESPONSES, {"id": "r", "status": "completed", "output": [item, call], "usage": USAGE}
    )
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "output_item.added", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[3]["delta"] == "Hi"
    assert (events[1]["item"]["content"], events[0]["response"]["output"]) == ([], [])
    assert events[-1]["response"]["usage"] == USAGE


def test_a_message_becomes_its_blocks() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    answer = {"type": "message", "id": "m", "content": blocks, "stop_reason": "tool_use", "usage": USAGE}
    start, *between, ended, stop = told(Endpoint.MESSAGES, answer)
    assert (start["message"]["content"], start["message"]["usage"]["output_tokens"]) == ([], 0)
    deltas = [event["delta"] for event in between if event["type"] == "content_block_delta"]
    assert deltas == [
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "s"},
        {"type": "text_delta", "text": "Hi"},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
    ]
    assert ended == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": USAGE,
    }
    assert stop == {"type": "message_stop"}


OPENAI = {"error": {"message": "too long", "type": "invalid_request_error", "param": "prompt", "code": "c"}}


@pytest.mark.parametrize("answer", [OPENAI, {"detail": "too long"}, {"message": "too long"}, b"too long"])
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_an_error_of_chunks_is_openais_and_the_end(endpoint: Endpoint, answer: Any) -> None:
    error, done = told(endpoint, answer, 400)
    assert (error["error"]["message"], done) == ("too long", "[DONE]")
    assert error == OPENAI or answer is not OPENAI


@pytest.mark.parametrize("answer", [OPENAI, {"detail": "too long"}, b"too long"])
def test_an_error_of_typed_events_is_one(answer: Any) -> None:
    (error,) = told(Endpoint.MESSAGES, answer, 429)
    assert error == {"type": "error", "error": {"type": "rate_limit_error", "message": "too long"}}
    (error,) = told(Endpoint.RESPONSES, answer, 429)
    assert (error["type"], error["message"], error["sequence_number"]) == ("error", "too long", 0)


@pytest.mark.parametrize(
    "endpoint", [Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.COMPLETIONS]
)
@pytest.mark.parametrize(
    "answer", [{}, {"choices": 1, "output": 2, "content": [3]}, [], 1, None, b"\xff", b"[" * 9999]
)
def test_what_is_no_answer_of_its_api_is_an_error_whatever_its_status(
    endpoint: Endpoint, answer: Any
) -> None:
    first = told(endpoint, answer)[0]
    assert "error" in first or first["type"] == "error"


def test_what_no_api_is_known_for_goes_out_as_it_is() -> None:
    assert told(Endpoint.AUDIO, {"text": "Hi"}) == [{"text": "Hi"}, "[DONE]"]
