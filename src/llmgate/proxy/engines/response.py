"""An answer while it comes: filled by a connection, emptied by whoever reads it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Protocol

from .base import UpstreamBroke

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from ...errors import Header
    from ...exchange import Push


FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Source(Protocol):
    """Where an answer comes from."""

    loop: asyncio.AbstractEventLoop

    def resume_reading(self) -> None:
        """The reader has caught up."""

    def fail(self, error: Exception) -> None:
        """End the answer with `error`."""


class Response:
    """An `UpstreamResponse`. `source` is there until the answer is complete or lost.

    `backlog` counts the bytes that came while nobody waited for them.
    """

    __slots__ = (
        "_loop", "_push", "_rest", "_waiter", "backlog", "complete", "ended", "error", "headers", "pieces", "source",
        "status",
    )  # fmt: skip

    headers: list[Header]

    def __init__(self, source: Source) -> None:
        self.source: Source | None = source
        self._loop = source.loop  # asking asyncio for it would cost as much as a future
        self.status = 0
        self.pieces: list[bytes] = []
        self.backlog = 0
        self.complete = False
        self.ended = False
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._push: Push | None = None  # who is given what comes, while somebody waits in `pump`
        self._rest: Awaitable[None] | None = None  # what it has left to be done

    @property
    def framed(self) -> bool:
        """Whether its head says how it ends; if not, it ends with its connection."""
        return any(name in FRAMING for name, _ in self.headers)

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        pieces = self.pieces
        while not pieces:
            if self.complete:
                self.ended = True
                return b""
            await self.changed()
        self.ended = self.complete
        return self._take()

    def whole(self) -> bytes | None:
        """See `UpstreamResponse.whole`."""
        if not self.complete:
            return None
        self.ended = True
        return self._take()

    async def pump(self, push: Push) -> Awaitable[None] | None:
        """See `UpstreamResponse.pump`. One future for all that passes: nobody is woken for a piece."""
        while self.source is not None:
            if self.pieces:
                rest = push(self._take())
            else:
                waiter, self._push = self.changed(), push
                try:
                    await waiter
                except BaseException:
                    if isinstance(self._rest, Coroutine):
                        self._rest.close()  # nobody will await it
                    raise
                finally:
                    self._push, rest, self._rest = None, self._rest, None
            if rest is not None:
                return rest
        return None

    def arrived(self) -> bool:
        """More of it is there, and not its end; returns whether somebody waited for that."""
        push, pieces = self._push, self.pieces
        if push is None or not pieces or self._waiter is None:
            return self.notify()
        try:  # there is no backlog while somebody waits
            rest = push(pieces.pop() if len(pieces) == 1 else self._take())
        except Exception as error:  # whoever has given us `push` gets it
            rest = _raising(error)
        if rest is None:
            return True
        self._rest = rest
        return self.notify()

    def _take(self) -> bytes:
        """What has come. Its source may go on if it was held back."""
        pieces = self.pieces
        if len(pieces) == 1:
            data = pieces.pop()
        else:
            data = b"".join(pieces)
            pieces.clear()
        if self.backlog:
            self.backlog = 0
            if self.source is not None:
                self.source.resume_reading()
        return data

    def abort(self) -> None:
        """See `UpstreamResponse.abort`."""
        if self.source is not None:
            self.source.fail(UpstreamBroke("aborted by the gate"))

    def changed(self) -> asyncio.Future[None]:
        """Done when something may have changed; raises what ended the connection."""
        if self.error is not None:
            raise self.error
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def notify(self) -> bool:
        """Something changed; returns whether somebody waited for that."""
        waiter = self._waiter
        if waiter is None:
            return False
        self._waiter = None
        if not waiter.done():
            waiter.set_result(None)
        return True

    def detach(self, error: Exception | None) -> None:
        """The source goes its own way: the answer is complete, or `error` ended it."""
        self.source = None
        self.error = error
        self.complete = error is None
        self.notify()


async def _raising(error: Exception) -> None:
    raise error
