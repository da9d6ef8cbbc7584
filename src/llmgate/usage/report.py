"""What one JSON object of an answer says: its usage, its choices, its generated text."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from .model import Usage

NULL = b"null"
NO_CHOICES = b"[]"
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FAILURES = frozenset({b'"error"', b'"response.failed"'})


class _Details(Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct, gc=False):
    """The usage objects of OpenAI's three APIs and of Anthropic's, and llama.cpp's `timings`, in one."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_n: int = 0
    prompt_n: int | None = None
    predicted_n: int | None = None

    @property
    def taken(self) -> int | None:
        """Input tokens: Anthropic and `timings` leave those of the cache out, OpenAI counts them in."""
        if self.prompt_tokens is not None:
            return self.prompt_tokens
        if self.input_tokens is not None:
            created = self.cache_creation_input_tokens or 0
            return self.input_tokens + (self.cache_read_input_tokens or 0) + created
        return None if self.prompt_n is None else self.prompt_n + self.cache_n

    @property
    def made(self) -> int | None:
        """Output tokens."""
        if self.completion_tokens is not None:
            return self.completion_tokens
        return self.output_tokens if self.output_tokens is not None else self.predicted_n


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, gc=False):
    function: _Function | None = None


class _Text(Struct, gc=False):
    """Generated text, wherever the APIs put it."""

    content: str | None = None
    text: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Item(Struct, gc=False):
    """One item of a response's output."""

    content: list[_Text] | None = None
    arguments: str | None = None


class Choice(Struct, gc=False):
    """One answer of several, or the next chunk of it."""

    index: int = 0
    finish_reason: str | None = None
    text: str | None = None
    delta: _Text | None = None
    message: _Text | None = None

    @property
    def text_bytes(self) -> int:
        """Bytes of generated text in this choice."""
        return _size(self.text) + _text_bytes(self.delta) + _text_bytes(self.message)


_MOST = 2**40
"""More tokens than any answer has: a backend that reports them reports nothing."""
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_usage = msgspec.json.Decoder(_Usage).decode
_choices = msgspec.json.Decoder(list[Choice]).decode
_parts = msgspec.json.Decoder(list[_Text]).decode
_output = msgspec.json.Decoder(list[_Item]).decode
_delta = msgspec.json.Decoder(str | _Text | None).decode
_string = msgspec.json.Decoder(str).decode


def members_of(data: bytes | Raw | None) -> dict[str, Raw] | None:
    """The members of a JSON object, their values undecoded; None if `data` is anything else (`null`, say)."""
    if data is None:
        return None
    try:
        return _members(data)
    except _UNREADABLE:
        return None


def is_error(members: dict[str, Raw]) -> bool:
    """Whether an event or a body says that the backend gave up."""
    if "error" in members:
        return bytes(members["error"]) != NULL
    return "type" in members and bytes(members["type"]) in _FAILURES


def usage_of(raw: Raw | bytes) -> Usage | None:
    """A usage object in the gate's words; None if it counts no tokens (null, or seconds of audio)."""
    try:
        found = _usage(raw)
    except _UNREADABLE:
        return None
    taken, made = found.taken, found.made
    if found.total_tokens is not None:
        taken = found.total_tokens - (made or 0) if taken is None else taken
        made = found.total_tokens - taken if made is None else made
    if taken is None or not 0 <= taken <= _MOST or not 0 <= (made or 0) <= _MOST:
        return None
    taken_details = found.prompt_tokens_details or found.input_tokens_details or _Details()
    made_details = found.completion_tokens_details or found.output_tokens_details or _Details()
    return Usage(
        input_tokens=taken,
        output_tokens=made or 0,
        cached_tokens=taken_details.cached_tokens or found.cache_read_input_tokens or found.cache_n,
        reasoning_tokens=made_details.reasoning_tokens or 0,
    )


def choices_of(members: dict[str, Raw]) -> list[Choice]:
    """The choices of a chunk or a body; none where they are missing or have another shape."""
    try:
        return _choices(members.get("choices", NO_CHOICES))
    except _UNREADABLE:
        return []


def body_text_bytes(members: dict[str, Raw]) -> int:
    """Bytes of generated text in a whole answer: choices, a transcript, a message's content, a response's output."""
    size = sum(choice.text_bytes for choice in choices_of(members)) + _size(string_of(members.get("text")))
    try:
        size += sum(map(_text_bytes, _parts(members.get("content", NO_CHOICES))))
        for item in _output(members.get("output", NO_CHOICES)):
            size += _size(item.arguments) + sum(map(_text_bytes, item.content or ()))
    except _UNREADABLE:
        return size
    return size


def delta_bytes(raw: Raw) -> int:
    """Bytes of generated text in the `delta` of an event of the responses or messages API."""
    try:
        delta = _delta(raw)
    except _UNREADABLE:
        return 0
    return _size(delta) if isinstance(delta, str) else _text_bytes(delta)


def string_of(raw: Raw | None) -> str | None:
    """A JSON string's value; None for anything else."""
    try:
        return None if raw is None else _string(raw)
    except _UNREADABLE:
        return None


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
    for call in text.tool_calls or ():
        if call.function is not None:
            size += _size(call.function.name) + _size(call.function.arguments)
    return size


def _size(text: str | None) -> int:
    return len(text.encode()) if text else 0
