"""Whether a request's input is all text in its body, so that the body's bytes bound its tokens."""

from __future__ import annotations

from types import MappingProxyType

import msgspec
from msgspec import Raw, Struct

from .endpoint import Endpoint

_PLAIN = frozenset(
    {
        "message",
        "text",
        "input_text",
        "output_text",
        "summary_text",
        "reasoning_text",
        "refusal",
        "thinking",
        "redacted_thinking",
        "reasoning",
        "tool_use",
        "tool_result",
        "function_call",
        "function_call_output",
    }
)
_ELSEWHERE = ("previous_response_id", "conversation", "prompt_embeds", "chat_template")
"""Fields whose input lies elsewhere, is no text, or may be repeated at will."""
_CONVERSATIONS = MappingProxyType({Endpoint.RESPONSES: ("input",), Endpoint.COMPLETIONS: ()})
_TEXTS = ("input", "query", "queries", "documents", "text_1", "text_2", "data_1", "data_2")
_TEXT_ENDPOINTS = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.POOLING})


class _Item(Struct, gc=False):
    """A message, or a part of one: what may hold further input, and what says which kind it is."""

    type: str = "message"
    content: Raw = Raw(b"null")
    output: Raw = Raw(b"null")


_item = msgspec.json.Decoder(_Item).decode
_items = msgspec.json.Decoder(list[_Item]).decode
_texts = msgspec.json.Decoder(str | list[str | list[int]]).decode


def is_opaque(endpoint: Endpoint, fields: dict[str, Raw]) -> bool:
    """True if some input is an image, sound, video, file or reference, or of a kind not known to be text."""
    for name in _ELSEWHERE:
        if name in fields and bytes(fields[name]) != b"null":
            return True
    for name in _CONVERSATIONS.get(endpoint, ("messages", "system")):
        if name in fields and _has_parts(name, fields[name]) and not _is_text(fields[name]):
            return True
    if endpoint in _TEXT_ENDPOINTS:
        return any(name in fields and not _is_plain(fields[name]) for name in _TEXTS)
    return False


def _has_parts(name: str, raw: Raw) -> bool:
    """Messages hold more than text only in lists of parts; the items of a response may be anything."""
    return name == "input" or bytes(raw).find(b"[", 1) > 0


def _is_text(raw: Raw) -> bool:
    """Whether a conversation, a message's content or a part of it is text all through."""
    first = bytes(raw)[:1]
    if first not in (b"[", b"{"):
        return True
    try:
        items = _items(raw) if first == b"[" else [_item(raw)]
    except msgspec.MsgspecError:
        return False
    return all(item.type in _PLAIN and _is_text(item.content) and _is_text(item.output) for item in items)


def _is_plain(raw: Raw) -> bool:
    """Whether the input of an embedding or a ranking is strings or tokens."""
    if bytes(raw)[1:2].isdigit():
        return True
    try:
        _texts(raw)
    except msgspec.MsgspecError:
        return False
    return True
