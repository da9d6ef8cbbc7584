"""The meter of an event stream that only looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from .plain_chunk import PlainChunks
from .report import lenient_members, members_of
from .sse import EventSplitter, data_of
from .tally import Tally

if TYPE_CHECKING:
    from msgspec import Raw

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from .model import Reading
    from .plain_chunk import PlainChunk

CHUNKED = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
"""Endpoints whose streams are of chunks."""
_DONE = b"[DONE]"
_OBJECT = b"{"
_LAST_TYPES = frozenset(
    {b'"message_stop"', b'"response.completed"', b'"response.failed"', b'"response.incomplete"'}
)
"""Types of the events after which clients read no further (Anthropic's messages, OpenAI's responses)."""


class StreamMeter:
    """Looks at a stream: every byte goes on at once, as the same object."""

    __slots__ = ("_plain", "_splitter", "_tally", "_waits", "finished")
    streams = True
    strips = False

    def __init__(self, dialect: Dialect, model_request: ModelRequest) -> None:
        self.finished = False
        self._tally = Tally(dialect, model_request)
        self._splitter = EventSplitter()
        self._plain = PlainChunks() if model_request.endpoint in CHUNKED else None
        self._waits = model_request.endpoint not in dialect.counts_running

    @property
    def model(self) -> str | None:
        """The model named in the answer, once it has been."""
        return self._tally.model

    @property
    def failed(self) -> bool:
        """Whether the backend has said that it gave up."""
        return self._tally.failed

    @property
    def awaits_usage(self) -> bool:
        """Whether what was used so far will be known only from what is still to come."""
        return self._waits and not self._tally.complete

    def feed(self, data: bytes) -> bytes:
        """Takes note of `data` and gives back what may go to the client now."""
        for event in self._splitter.feed(data):
            self._see(event)
        return data

    def _see(self, event: bytes) -> None:
        if self._see_plain(event) is None and (members := self._read(event)) is not None:
            self._tally.see(members)

    def _see_plain(self, event: bytes) -> PlainChunk | None:
        """Take note of a chunk that only brings text, once the model is known; None if `event` is no such one."""
        if self._plain is None or self._tally.model is None or (data := data_of(event)) is None:
            return None
        chunk = self._plain.read(data)
        if chunk is not None:
            self._tally.add_text(chunk.choices[0].index, chunk.text_bytes)
        return chunk

    def _read(self, event: bytes) -> dict[str, Raw] | None:
        data = data_of(event)
        members = members_of(data)
        if members is None:
            if data == _DONE:
                self.finished = True
            elif data:
                self._see_odd(data)
            elif data is None:
                self._see_bare(event)
        elif (kind := members.get("type")) is not None and bytes(kind) in _LAST_TYPES:
            self.finished = True
        return members

    def _see_odd(self, data: bytes) -> None:
        """What is no JSON object to us has been generated all the same."""
        members = lenient_members(data)
        if members is None:
            self._tally.see_unread()
        else:
            self._tally.see(members)

    def _see_bare(self, event: bytes) -> None:
        """JSON that is no event, or a line of it each: it has been generated all the same."""
        if _OBJECT not in event:
            return
        for text in (event,) if members_of(event) is not None else event.splitlines():
            if text.lstrip().startswith(_OBJECT):
                self._see_odd(text)

    def end(self) -> bytes:
        """What is still held, once the upstream has finished: the rest is its last event, blank line or not."""
        if rest := self._splitter.take_rest():
            self._see(rest)
        return b""

    def reading(self, finished: bool) -> Reading:
        """What the answer used; `finished` is False if the stream was cut by either side."""
        return self._tally.reading(finished=finished)
