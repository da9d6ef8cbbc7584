"""A plain answer, or an error, to a client that has been told by then that it reads a stream: as events.

Each API has events of its own, and a client that gets the object of a plain answer in one of them finds no text in
it. So the answer is told as the backend would have streamed it, all at once: chunks and `[DONE]` for chats and
completions, typed events for responses and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from ..backends.endpoint import Endpoint
from ..errors.shapes import ANTHROPIC_TYPES

Fields = Mapping[str, Any]
DONE = b"data: [DONE]\n\n"
EVENT_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How a stream of events begins, whatever its answer says that it is."""


def events_of(endpoint: Endpoint, status: int, body: bytes) -> bytes:
    """The events that say to a client of `endpoint` what an answer with this status and body says."""
    try:
        told: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        told = None
    is_answer = 200 <= status < 300 and isinstance(told, dict) and not told.get("error")
    try:
        events = list(_ANSWERS.get(endpoint, _as_it_is)(told)) if is_answer else []
    except (LookupError, TypeError, AttributeError, ValueError):  # no answer of this API
        events = []
    if not events:
        events = [_ERRORS.get(endpoint, _error)(status, told if isinstance(told, dict) else None, body)]
    text = b"".join(map(_written, events))
    return text if endpoint in _TYPED else text + DONE


def _written(event: Fields) -> bytes:
    kind = event.get("type")
    name = b"event: %b\n" % str(kind).encode() if isinstance(kind, str) and kind.isprintable() else b""
    return b"%bdata: %b\n\n" % (name, msgspec.json.encode(event))


def _without(told: Fields, *names: str) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}


def _chat(told: Fields) -> Iterator[Fields]:
    base = {**_without(told, "choices", "usage"), "object": "chat.completion.chunk"}
    for choice in told["choices"]:
        message = dict(choice["message"])
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
        begun = {**_without(choice, "message"), "delta": message, "finish_reason": None}
        ended = {
            "index": choice.get("index", 0),
            "delta": {},
            "finish_reason": choice.get("finish_reason") or "stop",
        }
        yield {**base, "choices": [begun]}
        yield {**base, "choices": [ended]}
    yield from _usage(base, told)


def _completion(told: Fields) -> Iterator[Fields]:
    base = _without(told, "choices", "usage")
    for choice in told["choices"]:
        yield {**base, "choices": [{**choice, "finish_reason": choice.get("finish_reason") or "stop"}]}
    yield from _usage(base, told)


def _usage(base: Fields, told: Fields) -> Iterator[Fields]:
    if told.get("usage"):
        yield {**base, "choices": [], "usage": told["usage"]}


def _response(told: Fields) -> Iterator[Fields]:
    output = list(told["output"])
    begun = {**told, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(output):
        place = {"output_index": at, "item_id": item.get("id", "")}
        begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
        parts = item.get("content") if item.get("type") == "message" else None
        begun |= {} if parts is None else {"content": []}
        events.append({"type": "response.output_item.added", "output_index": at, "item": begun})
        for number, part in enumerate(parts or ()):
            here = {**place, "content_index": number}
            is_text = part.get("type") == "output_text"
            empty = {**part, "text": ""} if is_text else part
            events.append({"type": "response.content_part.added", **here, "part": empty})
            if is_text:
                text = part["text"]
                events.append({"type": "response.output_text.delta", **here, "delta": text, "logprobs": []})
                events.append({"type": "response.output_text.done", **here, "text": text, "logprobs": []})
            events.append({"type": "response.content_part.done", **here, "part": part})
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    last = told.get("status") if told.get("status") in ("incomplete", "failed") else "completed"
    events.append({"type": f"response.{last}", "response": told})
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


def _message(told: Fields) -> Iterator[Fields]:
    usage = dict(told.get("usage") or {})
    begun = {**told, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**begun, "usage": {**usage, "output_tokens": 0}}}
    for index, block in enumerate(told["content"]):
        empty, deltas = _block(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": told.get("stop_reason"), "stop_sequence": told.get("stop_sequence")}
    yield {"type": "message_delta", "delta": ended, "usage": usage}
    yield {"type": "message_stop"}


def _block(block: Fields) -> tuple[Fields, list[Fields]]:
    """A block of a message as it begins, and what makes it whole."""
    match block["type"]:
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "thinking":
            deltas: list[Fields] = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            deltas += [{"type": "signature_delta", "signature": block.get("signature", "")}]
            return {**block, "thinking": "", "signature": ""}, deltas
        case "tool_use":
            arguments = msgspec.json.encode(block["input"]).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": arguments}]
        case _:
            return block, []


def _as_it_is(told: Fields) -> Iterator[Fields]:
    yield told


def _error(_: int, told: Fields | None, body: bytes) -> Fields:
    """OpenAI's, as it stands, and as its own SDKs find it in a stream."""
    if told is not None and told.get("error"):
        return told
    return {"error": {"message": _words(told, body), "type": "api_error", "param": None, "code": None}}


def _message_error(status: int, told: Fields | None, body: bytes) -> Fields:
    """Anthropic's."""
    error = {} if told is None else told.get("error")
    if told is not None and told.get("type") == "error" and isinstance(error, dict):
        return told
    kind = ANTHROPIC_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": _words(told, body)}}


def _response_error(_: int, told: Fields | None, body: bytes) -> Fields:
    """That of OpenAI's typed events, whose members lie flat."""
    error = {} if told is None else told.get("error")
    error = error if isinstance(error, dict) else {}
    known = {"code": error.get("code"), "message": _words(told, body), "param": error.get("param")}
    return {"type": "error", **known, "sequence_number": 0}


def _words(told: Fields | None, body: bytes) -> str:
    """What an error says to people, wherever it says so."""
    error = None if told is None else told.get("error", told.get("detail", told.get("message")))
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else body.decode(errors="replace")


_ANSWERS: Mapping[Endpoint, Callable[[Fields], Iterator[Fields]]] = MappingProxyType(
    {
        Endpoint.CHAT: _chat,
        Endpoint.COMPLETIONS: _completion,
        Endpoint.RESPONSES: _response,
        Endpoint.MESSAGES: _message,
    }
)
_ERRORS: Mapping[Endpoint, Callable[[int, Fields | None, bytes], Fields]] = MappingProxyType(
    {Endpoint.RESPONSES: _response_error, Endpoint.MESSAGES: _message_error}
)
_TYPED = frozenset({Endpoint.RESPONSES, Endpoint.MESSAGES})
"""Whose last event is one of their own, and not [DONE]."""
