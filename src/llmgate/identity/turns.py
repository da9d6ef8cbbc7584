"""Turns at costly work: a few at once, and whoever waits is served fairly, client by client."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import RateLimited, Unavailable

MAX_WAITING = 128
"""Over all clients: with hashes of 50 ms nobody waits for longer than some seconds."""
MAX_WAITING_EACH = 32


class Turns:
    """At most `at_once` have their turn. Of those who wait, each client gets the next turn in its turn."""

    def __init__(
        self, at_once: int, *, waiting: int = MAX_WAITING, waiting_each: int = MAX_WAITING_EACH
    ) -> None:
        self._free = at_once
        self._most = waiting
        self._most_each = waiting_each
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._waiting = 0

    @asynccontextmanager
    async def take(self, client: str) -> AsyncIterator[None]:
        """A turn of `client`'s, which lasts until the context is left.

        Raises `RateLimited` where this client waits for too many already, `Unavailable` where all together do.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, client: str) -> None:
        line = self._lines.get(client)
        if line is not None and len(line) >= self._most_each:
            raise RateLimited("Too many requests of yours wait already. Try again later.", retry_after=5)
        if self._waiting >= self._most:
            message = "Too many are logging in at the moment. Try again later."
            raise Unavailable(message, headers=[(b"retry-after", b"5")])
        if line is None:
            line = self._lines[client] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        self._waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given, and nobody takes it
                self._pass_on()
            else:
                self._leave(client, turn)
            raise

    def _leave(self, client: str, turn: asyncio.Future[None]) -> None:
        line = self._lines[client]
        line.remove(turn)
        self._waiting -= 1
        if not line:
            del self._lines[client]

    def _pass_on(self) -> None:
        """Give the turn to the client whose last one is longest ago."""
        if not self._lines:
            self._free += 1
            return
        client, line = self._lines.popitem(last=False)
        turn = line.popleft()
        self._waiting -= 1
        if line:
            self._lines[client] = line
        turn.set_result(None)
