"""The stamp of changes on PostgreSQL, kept by LISTEN and NOTIFY for every process on every host.

A change is announced by NOTIFY inside its own transaction: it goes out if and when that commits. Each
process listens on a connection of its own, and sends itself an echo there, again and again. PostgreSQL
delivers notifications in the order in which they were committed, so an echo that comes back proves that
everything announced before it was sent has been heard. While no echo comes (the connection is down or
hangs, the server restarts, a pooler swallows notifications), nothing that is remembered is trusted for
long: the stamp then moves by itself, once every `DISCONNECTED_FOR_S` seconds. So a change that was announced holds
everywhere within a round trip, and at the latest after `TRUSTED_FOR_S` + `DISCONNECTED_FOR_S` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

import asyncpg
from sqlalchemy import func, select

if TYPE_CHECKING:
    from sqlalchemy.engine import URL
    from sqlalchemy.ext.asyncio import AsyncConnection

log = logging.getLogger("llmgate.store")

CHANNEL = "llmgate_changes"
ECHO = "llmgate_echo_"
"""Before a process's name: nobody else is sent its echoes."""
ECHO_INTERVAL_S = 0.5
TRUSTED_FOR_S = 2.0
"""Seconds since the last echo was sent for which the stamp is believed to stand still when it does."""
DISCONNECTED_FOR_S = 1.0
"""Seconds for which what is looked up afresh is remembered while no echo comes."""

_GONE = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
)  # fmt: skip
"""What a lost connection looks like; the last one where it is lost in the middle of a statement."""


class NotifiedChangeStamp:
    """See the module's text. Made by `listening`; `timer` tells seconds of the monotonic clock."""

    def __init__(self, dsn: str, *, timer: Callable[[], float]) -> None:
        self._dsn = dsn
        self._timer = timer
        self._me = secrets.token_hex(8)
        self._echo = ECHO + self._me
        self._stamp = 0
        self._heard = -math.inf
        self._sent = ("", -math.inf)
        self.connected = asyncio.Event()
        """Set while echoes come back."""

    def current(self) -> int:
        """The stamp that stands now; negative ones are those of a process that hears nothing."""
        now = self._timer()
        return self._stamp if now - self._heard < TRUSTED_FOR_S else -1 - int(now / DISCONNECTED_FOR_S)

    def bump(self) -> None:
        """Move the stamp of this process; the others hear of it by `announce`."""
        self._stamp += 1

    async def announce(self, conn: AsyncConnection) -> None:
        """Tell all other processes as soon as the transaction of `conn` commits."""
        await conn.execute(select(func.pg_notify(CHANNEL, self._me)))

    async def listen(self) -> None:
        """Hear what others announce, for ever: a lost connection is opened again."""
        while True:
            try:
                await self._listen_once()
            except _GONE as error:
                if self.connected.is_set():
                    log.warning("changes made by other processes are not heard at once: %r", error)
                self.connected.clear()
            await asyncio.sleep(ECHO_INTERVAL_S)

    async def _listen_once(self) -> NoReturn:
        """Listen until the connection is lost."""
        connection = await asyncpg.connect(self._dsn, timeout=TRUSTED_FOR_S, command_timeout=TRUSTED_FOR_S)
        try:
            await connection.add_listener(CHANNEL, self._on_change)
            await connection.add_listener(self._echo, self._on_echo)
            self._stamp += 1  # what was announced before went unheard
            while True:
                echo = secrets.token_hex(8)
                self._sent = echo, self._timer()
                await connection.execute("SELECT pg_notify($1, $2)", self._echo, echo)
                await asyncio.sleep(ECHO_INTERVAL_S)
        finally:
            connection.terminate()

    def _on_change(self, _connection: object, _pid: int, _channel: str, sender: object) -> None:
        if sender != self._me:  # one's own change has moved the stamp already
            self._stamp += 1

    def _on_echo(self, _connection: object, _pid: int, _channel: str, echo: object) -> None:
        sent, at = self._sent
        if echo == sent:
            self._heard = at
            self.connected.set()


@asynccontextmanager
async def listening(
    url: URL, *, timer: Callable[[], float] = time.monotonic
) -> AsyncIterator[NotifiedChangeStamp]:
    """The stamp of the database at `url`, moved by whoever changes it, for as long as the context lasts."""
    changes = NotifiedChangeStamp(driver_url(url), timer=timer)
    task = asyncio.create_task(changes.listen(), name="llmgate-changes")
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changes.connected.wait(), TRUSTED_FOR_S)
        yield changes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def driver_url(url: URL) -> str:
    """`url` as asyncpg itself takes it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
