"""Event streams on their way through: not buffered by others, kept alive until their first event, ended in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .engines.base import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from ..errors import Header
    from ..exchange import Push
    from .engines.base import UpstreamResponse

HEARTBEAT = b": heartbeat\n\n"
"""A comment: clients leave it out (WHATWG HTML 9.2.6)."""
DONE = tuple(
    b"data:%b[DONE]%b" % (space, end) for space in (b" ", b"") for end in (b"\n\n", b"\r\n\r\n", b"\n")
)
"""What the last event of OpenAI's streams ends with."""
LONGEST_DONE = max(map(len, DONE))
END_AFTER_DONE_S = 2.0
"""For so long the end of a stream may come behind its last event; then it is ended here."""
DO_NOT_BUFFER: Header = (b"x-accel-buffering", b"no")
"""Asks nginx, and whoever follows it, to pass each event on when it comes."""


def is_event_stream(headers: Iterable[Header]) -> bool:
    """Whether the answer with these headers, their names in lower case, is one."""
    for name, value in headers:
        if name == b"content-type":
            return value[:17] == b"text/event-stream"
    return False


def unbuffered(headers: list[Header]) -> list[Header]:
    """The headers of an event stream, with what keeps proxies from buffering it unless something is said already."""
    if any(name == DO_NOT_BUFFER[0] for name, _ in headers):
        return headers
    return [*headers, DO_NOT_BUFFER]


class EventStream:
    """Reads a `response` that is an event stream, as `UpstreamResponse.read` does; `ended` likewise.

    Every `heartbeat` seconds until its first piece a comment is read. A stream that stays open behind its last
    event, or breaks off there, has ended.
    """

    __slots__ = ("_ends_at", "_first", "_heartbeat", "_push", "_response", "_tail", "ended")

    _push: Push

    def __init__(self, response: UpstreamResponse, heartbeat: float | None) -> None:
        self.ended = False
        self._response = response
        self._heartbeat = heartbeat
        self._first: asyncio.Future[bytes] | None = None
        self._tail = b""
        self._ends_at: float | None = None  # once the last event has come

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        response = self._response
        if self._heartbeat is not None:
            piece = await self._first_or_heartbeat(self._heartbeat)
            if piece is HEARTBEAT:
                return piece
        elif self._ends_at is not None:
            return await self._end(self._ends_at)
        else:
            piece = await response.read()
        self.ended = response.ended
        self._tail = self._joined(piece)
        if self._tail.endswith(DONE):
            self._end_soon()
        return piece

    async def pump(self, push: Push) -> Awaitable[None] | None:
        """See `UpstreamResponse.pump`: not while there are heartbeats, nor behind the last event."""
        if self._heartbeat is not None or self._ends_at is not None:
            return None
        self._push = push
        return await self._response.pump(self._pass)

    def close(self) -> None:
        """Nobody reads on."""
        if self._first is not None:
            self._first.cancel()

    def _pass(self, piece: bytes) -> Awaitable[None] | None:
        rest = self._push(piece)
        tail = self._tail = piece if len(piece) >= LONGEST_DONE else self._joined(piece)
        if not tail.endswith(DONE):
            return rest
        self._end_soon()
        return rest or _nothing()  # who pumps has to look

    def _joined(self, piece: bytes) -> bytes:
        """The end of the stream so far: a piece that came before may have begun the last event."""
        return (self._tail + piece)[-LONGEST_DONE:]

    def _end_soon(self) -> None:
        self._ends_at = asyncio.get_running_loop().time() + END_AFTER_DONE_S

    async def _first_or_heartbeat(self, seconds: float) -> bytes:
        if self._first is None:
            self._first = asyncio.ensure_future(self._response.read())
        await asyncio.wait({self._first}, timeout=seconds)
        if not self._first.done():
            return HEARTBEAT
        first, self._first, self._heartbeat = self._first, None, None
        return first.result()

    async def _end(self, at: float) -> bytes:
        """What still comes behind the last event; b"" where nothing does until `at`."""
        try:
            async with asyncio.timeout_at(at):
                piece = await self._response.read()
        except (TimeoutError, UpstreamError):
            self.ended = True
            return b""
        self.ended = self._response.ended
        return piece


async def _nothing() -> None:
    """Nothing is left to be done."""
