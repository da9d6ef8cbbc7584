"""The answer that a `Connection` is reading: filled by its protocol callbacks, emptied by the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import UpstreamBroke

if TYPE_CHECKING:
    import asyncio

    from ...errors import Header
    from .connection import Connection


class Response:
    """An `UpstreamResponse`. `connection` is there until the answer is complete or lost.

    `backlog` counts the bytes that came while nobody waited for them.
    """

    __slots__ = (
        "_loop", "_waiter", "backlog", "complete", "connection", "ended", "error", "headers", "pieces", "status",
    )  # fmt: skip

    headers: list[Header]

    def __init__(self, connection: Connection) -> None:
        self.connection: Connection | None = connection
        self._loop = connection.loop  # asking asyncio for it would cost as much as a future
        self.status = 0
        self.pieces: list[bytes] = []
        self.backlog = 0
        self.complete = False
        self.ended = False
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        pieces = self.pieces
        while not pieces:
            if self.complete:
                self.ended = True
                return b""
            await self.news()
        if len(pieces) == 1:
            data = pieces.pop()
        else:
            data = b"".join(pieces)
            pieces.clear()
        self.ended = self.complete
        if self.backlog:
            self.backlog = 0
            if self.connection is not None:
                self.connection.resume_reading()
        return data

    def abort(self) -> None:
        """See `UpstreamResponse.abort`."""
        if self.connection is not None:
            self.connection.fail(UpstreamBroke("aborted by the gate"))

    def news(self) -> asyncio.Future[None]:
        """Done when something may have changed; raises what ended the connection."""
        if self.error is not None:
            raise self.error
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def wake(self) -> bool:
        """Something changed; returns whether somebody waited for that."""
        waiter = self._waiter
        if waiter is None:
            return False
        self._waiter = None
        if not waiter.done():
            waiter.set_result(None)
        return True

    def detach(self, error: Exception | None) -> None:
        """The connection goes its own way: the answer is complete, or `error` ended it."""
        self.connection = None
        self.error = error
        self.complete = error is None
        self.wake()
