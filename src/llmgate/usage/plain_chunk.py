"""The short way for a chunk that brings text and nothing else, as nearly every one does: read in one step.

Whatever has a member that is not known here, a finish reason, usage, a tool's call or a second choice is no plain
chunk, and is read member by member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct, UnsetType

from .report import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable

MISSES = 3
"""So many chunks that are not plain, beyond those that are, and a stream is not asked any more."""


class _Delta(Struct, gc=False, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Choice(Struct, gc=False, forbid_unknown_fields=True):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    logprobs: None = None
    finish_reason: None = None
    stop_reason: None = None
    token_ids: None = None


class PlainChunk(Struct, gc=False, forbid_unknown_fields=True):
    """The members of such a chunk. `usage` is null, or not there."""

    choices: list[_Choice]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    service_tier: str | None = None
    obfuscation: str | None = None
    usage: UnsetType | None = UNSET

    @property
    def text_bytes(self) -> int:
        """Bytes of generated text."""
        choice = self.choices[0]
        texts = [choice.text]
        if (delta := choice.delta) is not None:
            texts += (delta.content, delta.reasoning, delta.reasoning_content)
        return sum([len(text.encode("utf-8", "surrogatepass")) for text in texts if text])


_decode: Callable[[bytes], PlainChunk] = msgspec.json.Decoder(PlainChunk).decode


class PlainChunks:
    """Asks the chunks of one stream whether they are plain, for as long as that pays."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MISSES

    def read(self, data: bytes) -> PlainChunk | None:
        """The chunk that an event's `data` is; None if it is no plain one."""
        if self._left <= 0:
            return None
        try:
            chunk = _decode(data)
        except UNREADABLE:
            self._left -= 1
            return None
        if len(chunk.choices) != 1 or chunk.choices[0].index < 0:
            self._left -= 1
            return None
        self._left += 1
        return chunk
