"""Whether a request's input is all text in its body, so that the body's bytes bound its tokens.

Read as the most liberal backend would: vLLM takes `{"image_url": ...}` for an image without a type and beside
a text, llama.cpp a prompt that is an object. What is not known to be text is opaque.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Raw, Struct

from .json_body import has_duplicates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVERSATIONS = frozenset({"messages", "system", "input"})
"""Fields that hold messages, whose parts may be text or not."""
TEXTS = _words(
    "prompt query queries documents texts text_1 text_2 data data_1 data_2 items content inputs sentences"
)
"""Fields that hold texts, token ids or documents of text."""
ELSEWHERE = _words(
    "previous_response_id conversation container mcp_servers prompt_embeds input_embeds "
    "multimodal_data mm_processor_kwargs image_data images image audio_data videos files file_ids "
    "attachments context chat_template web_search_options cached_content extra_body plugins"
)
"""Fields whose input lies elsewhere, is no text, or may be repeated at will."""
_KINDS = _words(
    "message text input_text output_text summary_text reasoning_text refusal thinking "
    "redacted_thinking reasoning tool_use tool_result function function_call function_call_output "
    "custom custom_tool_call custom_tool_call_output"
)
"""Types of messages, of their parts and of tools' calls that are text and nothing else."""
_TEXTS = _words(
    "type role text name title id call_id tool_call_id tool_use_id status phase refusal thinking "
    "signature reasoning reasoning_content arguments cache_control annotations logprobs index "
    "is_error prefix partial weight citations encrypted_content function function_call tool_calls "
    "custom"
)
"""Members that are text, or are written out as the JSON that they are."""
_TEXTS_OF = MappingProxyType(
    {"tool_use": "input", "custom_tool_call": "input", "redacted_thinking": "data", "thinking": "data"}
)
"""Members that are so in items of one type only."""
_PARTS = frozenset({"content", "output", "summary"})
"""Members that hold text or a list of parts."""
_CLIENTS = frozenset({"function", "custom", None})
"""Types of tools whose results the client itself brings; those of all others come from elsewhere, and so do those of
one that is not named (Gemini's `{"google_search": {}}`)."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256}")


class _Message(Struct, forbid_unknown_fields=True, gc=False):
    """The message that nearly all are: a text."""

    role: str
    content: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class _Tool(Struct, gc=False):
    type: str | None = None
    name: str | None = None
    function: Raw = Raw()

    @property
    def is_hosted(self) -> bool:
        """Whether the server has to bring what it gives back."""
        return self.type not in _CLIENTS or (
            self.type is None and self.name is None and not bytes(self.function)
        )


class _Document(Struct, forbid_unknown_fields=True, gc=False):
    """What is ranked, or put before a chat."""

    text: str = ""
    title: str | None = None
    id: str | int | None = None


_messages = msgspec.json.Decoder(list[_Message]).decode
_texts = msgspec.json.Decoder(str | list[str | int | list[int] | _Document] | None).decode
_tools = msgspec.json.Decoder(list[_Tool] | None).decode
_anything = msgspec.json.Decoder().decode


class Opaque(NamedTuple):
    """What of a request's input is no text: how many parts, and how many bytes of the body they take."""

    parts: int = 0
    bytes: int = 0


_NOTHING = Opaque()
_EMPTY = frozenset({b"null", b"[]", b"{}", b'""', b"false"})


def opaque_input(fields: Mapping[str, Raw]) -> Opaque:
    """The images, sounds, videos, files and references in `fields`, and whatever else is not known to be text."""
    parts = size = 0
    for name in fields:
        if (look := _LOOKS.get(name)) is not None:
            found = look(name, fields[name])
            parts += found.parts
            size += found.bytes
    return Opaque(parts, size) if parts else _NOTHING


def _elsewhere(_: str, raw: Raw) -> Opaque:
    return _NOTHING if bytes(raw) in _EMPTY else Opaque(1)


def _opaque_in(name: str, raw: Raw) -> Opaque:
    if bytes(memoryview(raw)[:1]) == b'"':
        return _NOTHING
    try:
        (_messages if name == "messages" else _texts)(raw)
    except (msgspec.MsgspecError, RecursionError):
        pass
    else:
        return _NOTHING
    found, value = _Finder(), _anything(raw)
    if has_duplicates(raw, value):
        found.parts += 1  # the value that is not kept here may be the one that counts there
    if name in CONVERSATIONS:
        found.look(value)
    else:
        found.add(value)
    return Opaque(found.parts, found.bytes)


def _hosted(_: str, raw: Raw) -> Opaque:
    try:
        tools = _tools(raw)
    except (msgspec.MsgspecError, RecursionError):
        return Opaque(1)
    return Opaque(sum(tool.is_hosted for tool in tools or ()))


_LOOKS: Mapping[str, Callable[[str, Raw], Opaque]] = MappingProxyType(
    dict.fromkeys(CONVERSATIONS | TEXTS, _opaque_in)
    | dict.fromkeys(ELSEWHERE, _elsewhere)
    | {"tools": _hosted}
)


class _Finder:
    """Looks through decoded input, no deeper than the body's own bound of depth."""

    __slots__ = ("bytes", "parts")

    def __init__(self) -> None:
        self.parts = 0
        self.bytes = 0

    def look(self, value: object) -> None:
        """Add up what in `value`, a conversation or a part of one, is not text."""
        if isinstance(value, list):
            for item in value:
                self.look(item)
        elif isinstance(value, dict):
            self._look_into(value)

    def _look_into(self, item: dict[str, object]) -> None:
        kind = item.get("type")
        if kind is not None and not (isinstance(kind, str) and kind in _KINDS):
            self.add(item)
            return
        own = _TEXTS_OF.get(str(kind))
        for name, value in item.items():
            if name in _PARTS:
                self.look(value)
            elif value is not None and name not in _TEXTS and name != own:
                self.add(value)

    def add(self, value: object) -> None:
        """Take note of a part that is no text."""
        self.parts += 1
        self.bytes += _encoded_bytes(value)


def _encoded_bytes(value: object) -> int:
    """Bytes of the strings in `value` that are an encoding, of a picture say, and no text."""
    if isinstance(value, str):
        return len(value) if value.startswith("data:") or _BASE64.match(value) else 0
    if isinstance(value, dict):
        return sum(map(_encoded_bytes, value.values()))
    return sum(map(_encoded_bytes, value)) if isinstance(value, list) else 0
