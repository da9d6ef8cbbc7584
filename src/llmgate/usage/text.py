"""Generated text in an answer, wherever the APIs put it: how many bytes, in how many pieces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from .estimate import BYTES_PER_TOKEN
from .report import NO_CHOICES, string_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_TEXTS = frozenset(
    {
        "content",
        "text",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "refusal",
        "thinking",
        "partial_json",
        "arguments",
        "input",
        "name",
        "transcript",
        "summary",
    }
)
"""Members that hold generated text, in any shape."""
_STRING_MEMBER = re.compile(
    rb'"(?:%b)"\s*+:\s*+"((?:[^"\\]++|\\.)*+)' % "|".join(sorted(_TEXTS)).encode(), re.DOTALL
)
_AROUND = frozenset(
    {"delta", "message", "tool_calls", "function", "function_call", "custom", "parts", "output", "audio"}
)
"""Members that hold objects with such members."""


_NOT_GENERATED = frozenset(
    {"role", "type", "id", "index", "call_id", "status", "annotations", "citations", "signature", "logprobs"}
)
"""Members of a message that are none of its text. Any other that nobody knows is taken for a token."""
_ENCODED = re.compile(r"data:|[A-Za-z0-9+/_-]{64}")
ENCODED_PER_BYTE = 256
"""Bytes of a picture or a sound, as it is encoded, that weigh as much as one of text: a token is 1 KiB of it."""


class _Function(Struct, gc=False, forbid_unknown_fields=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, gc=False, forbid_unknown_fields=True):
    function: _Function | None = None
    index: int | None = None
    id: str | None = None
    type: str | None = None


class _Text(Struct, gc=False, forbid_unknown_fields=True):
    type: str | None = None
    role: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    signature: str | None = None
    name: None = None
    function_call: None = None
    audio: None = None
    annotations: list[Raw] | None = None
    content: str | None = None
    text: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct, gc=False):
    """The shape that nearly all choices have."""

    index: int = 0
    finish_reason: str | None = None
    text: str | None = None
    delta: _Text | None = None
    message: _Text | None = None


class Choice(Struct, frozen=True, gc=False):
    """One answer of several, or the next chunk of it."""

    index: int = 0
    finish_reason: str | None = None
    text_bytes: int = 0


_ANSWERS = ("choices", "text", "content", "output", "candidates", "message")
_NO_CHOICE = frozenset({NO_CHOICES, b"null"})
_choices = msgspec.json.Decoder(list[_Choice]).decode
_delta = msgspec.json.Decoder(str | _Text | None).decode
_anything = msgspec.json.Decoder().decode


def choices_of(members: dict[str, Raw]) -> list[Choice]:
    """The choices of a chunk or a body; none where they are missing or no list of objects.

    One odd member hides nothing of the others.
    """
    raw = members.get("choices")
    if raw is None or bytes(raw) == NO_CHOICES:
        return []
    try:
        return [
            Choice(
                choice.index,
                choice.finish_reason,
                _size(choice.text) + _text_bytes(choice.delta) + _text_bytes(choice.message),
            )
            for choice in _choices(raw)
        ]
    except _UNREADABLE:
        return _odd_choices(raw)


def has_choice(members: dict[str, Raw]) -> bool:
    """Whether a chunk has a choice: null, an empty list however it is written, and nothing at all are none."""
    raw = bytes(members.get("choices", NO_CHOICES))
    if raw in _NO_CHOICE:
        return False
    return raw[:1] != b"[" or raw[1:-1].strip(b" \t\r\n") != b""


def body_text_bytes(members: dict[str, Raw]) -> int:
    """Bytes of generated text in a whole answer: choices, a transcript, a message's content, a response's output."""
    size = sum(choice.text_bytes for choice in choices_of(members)) + _size(string_of(members.get("text")))
    for name in _ANSWERS[2:]:
        if name in members:
            size += _loose_bytes(_decoded(members[name]))
    return size


def answer_bytes(members: dict[str, Raw]) -> int:
    """Bytes of the members of a whole answer in which there may be text: more than that is none of it."""
    return sum([len(memoryview(members[name])) for name in _ANSWERS if name in members])


def fragment_text_bytes(fragment: bytes) -> int:
    """Bytes of generated text in a piece of a JSON answer, as far as it goes: strings under the names of text."""
    return sum(len(match[1]) for match in _STRING_MEMBER.finditer(fragment))


def delta_bytes(raw: Raw) -> int:
    """Bytes of generated text in the `delta` of an event of the responses or messages API."""
    try:
        delta = _delta(raw)
    except _UNREADABLE:
        return _loose_bytes(_decoded(raw), generated=True)
    return _size(delta) if isinstance(delta, str) else _text_bytes(delta)


def _odd_choices(raw: Raw) -> list[Choice]:
    choices = _decoded(raw)
    return [
        Choice(
            index if isinstance(index := choice.get("index"), int) and index >= 0 else 0,
            finish if isinstance(finish := choice.get("finish_reason"), str) else None,
            _loose_bytes(choice),
        )
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, dict)
    ]


def _decoded(raw: Raw) -> Any:
    try:
        return _anything(raw)
    except _UNREADABLE:
        return None


def _loose_bytes(value: object, *, generated: bool = False) -> int:
    """Bytes of the text in decoded JSON of any shape: strings, in lists and under the names of text.

    Of an object that is `generated`, a message say, members that nobody knows count, too, as a token each or, where
    they are encoded, by their length.
    """
    if isinstance(value, str):
        return _size(value)
    if isinstance(value, list):
        return sum(_loose_bytes(item, generated=generated) for item in value)
    if not isinstance(value, dict):
        return 0
    size = 0
    for name, inner in value.items():
        if name in _TEXTS:
            whole = name in ("arguments", "input")
            size += _all_bytes(inner) if whole else _loose_bytes(inner, generated=generated)
        elif name in _AROUND and not isinstance(inner, str):
            size += _loose_bytes(inner, generated=True)
        elif generated and inner and name not in _NOT_GENERATED:
            size += max(BYTES_PER_TOKEN, _encoded_bytes(inner) // ENCODED_PER_BYTE)
    return size


def _encoded_bytes(value: object) -> int:
    """Bytes of the strings in `value` that are a picture or a sound, encoded."""
    if isinstance(value, str):
        return len(value) if _ENCODED.match(value) else 0
    if isinstance(value, dict):
        return sum(map(_encoded_bytes, value.values()))
    return sum(map(_encoded_bytes, value)) if isinstance(value, list) else 0


def _all_bytes(value: object) -> int:
    """Arguments of a tool: a text, or the JSON that others write as a text."""
    return _size(value) if isinstance(value, str) else 0 if value is None else len(msgspec.json.encode(value))


def _text_bytes(text: _Text | None) -> int:
    if text is None:
        return 0
    size = (
        _size(text.content)
        + _size(text.text)
        + _size(text.reasoning)
        + _size(text.reasoning_content)
        + _size(text.refusal)
        + _size(text.thinking)
        + _size(text.partial_json)
    )
    return size + _call_bytes(text.tool_calls or ())


def _call_bytes(calls: Iterable[_ToolCall]) -> int:
    return sum(
        _size(call.function.name) + _size(call.function.arguments)
        for call in calls
        if call.function is not None
    )


def _size(text: str | None) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if text else 0
