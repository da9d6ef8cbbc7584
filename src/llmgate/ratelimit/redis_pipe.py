"""One connection to Redis that all requests of a process share.

Commands that are given in one turn of the event loop leave in one write, and answers find their askers by
order, which costs a tenth of what a pool of connections does. Nothing waits long: a connection that does
not answer within the timeout is dropped with all that waits for it, and the next command opens a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha1
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import hiredis

from ..errors import StoreError
from .availability import Availability

log = logging.getLogger("llmgate")

Word = bytes | str | int | float
Failed = Callable[[StoreError], None]
Reply = int | bytes | list["Reply"] | None


class Script:
    """A Lua script, which Redis keeps under its digest."""

    def __init__(self, source: str) -> None:
        self.source: Final = source
        self.digest: Final = sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisPipe:
    """The connection to the Redis at `url` (`redis://` or `rediss://`), made when it is first needed.

    `timeout`: seconds that connecting may take, and then an answer. Every method raises `StoreError` when
    Redis cannot be reached, does not answer in time, or refuses.
    """

    def __init__(self, url: str, *, timeout: float, availability: Availability | None = None) -> None:
        self.availability = availability or Availability()
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 6379
        self._tls = parts.scheme == "rediss"
        self._hello = _greeting(parts.username, parts.password, parts.path.strip("/"))
        self._timeout = timeout
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None
        self._posting: set[asyncio.Task[None]] = set()

    async def run(self, *words: Word) -> Reply:
        """The answer to one command."""
        try:
            line = self._line
            if line is None or line.closed:
                line = await self._connect()
            return self._good(await line.request(words))
        except StoreError as error:
            self.availability.failed(str(error))
            raise

    async def eval(self, script: Script, keys: str | Sequence[str], *arguments: Word) -> Reply:
        """What `script` returns for one key, or for several."""
        words = (1, keys, *arguments) if isinstance(keys, str) else (len(keys), *keys, *arguments)
        try:
            line = self._line
            if line is None or line.closed:
                line = await self._connect()
            reply = await line.request(("EVALSHA", script.digest, *words))
            if _forgotten(reply):
                reply = await line.request(("EVAL", script.source, *words))
            return self._good(reply)
        except StoreError as error:
            self.availability.failed(str(error))
            raise

    def post(self, failed: Failed, *words: Word) -> None:
        """Send a command with the others of this turn; nobody waits for its answer, but `failed` is told an error."""
        self._post(failed, partial(self.run, *words), words)

    def post_eval(self, failed: Failed, script: Script, keys: Sequence[str], *arguments: Word) -> None:
        """The same with a script."""
        words = ("EVALSHA", script.digest, len(keys), *keys, *arguments)
        self._post(failed, partial(self.eval, script, keys, *arguments), words)

    def _post(self, failed: Failed, wait: Callable[[], Awaitable[Reply]], words: Sequence[Word]) -> None:
        """`wait` does it where a connection has to be made first, or Redis has forgotten the script."""
        line = self._line
        if line is None or line.closed:
            self._wait(failed, wait)
        else:
            line.request(words).add_done_callback(partial(self._posted, failed, wait))

    def _posted(
        self, failed: Failed, wait: Callable[[], Awaitable[Reply]], done: asyncio.Future[object]
    ) -> None:
        try:
            reply = done.result()
            if _forgotten(reply):
                self._wait(failed, wait)
            else:
                self._good(reply)
        except StoreError as error:
            self.availability.failed(str(error))
            failed(error)

    def _wait(self, failed: Failed, wait: Callable[[], Awaitable[Reply]]) -> None:
        async def insist() -> None:
            try:
                await wait()
            except StoreError as error:
                failed(error)

        task = asyncio.create_task(insist(), name="llmgate-redis-post")
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    def _good(self, reply: object) -> Reply:
        good = _checked(reply)
        if self.availability.failing is not None:
            self.availability.answered()
        return good

    async def aclose(self) -> None:
        """Let the connection go, once what was posted is answered or has timed out."""
        while self._posting:
            await asyncio.gather(*self._posting)
        if self._line is not None:
            await self._line.answered()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._line is not None:
            self._line.drop("redis: the connection was closed")
            await self._line.lost.wait()

    async def _connect(self) -> _Line:
        """A new connection: one attempt at a time, whoever waits for it."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open(), name="llmgate-redis")
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, attempt: asyncio.Task[_Line]) -> None:
        self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._line = attempt.result()

    async def _open(self) -> _Line:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, line = await loop.create_connection(
                    lambda: _Line(loop, self._timeout), self._host, self._port, ssl=self._tls or None
                )
        except (OSError, TimeoutError) as error:
            raise StoreError(f"redis ({self._host}:{self._port}): cannot be reached: {error!r}") from error
        try:
            for command in self._hello:
                _checked(await line.request(command))
        except BaseException:
            line.drop("redis: the connection was given up")
            raise
        return line


class _Line(asyncio.Protocol):
    """An open connection: what was asked, in order, and until when each answer must be there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.closed = False
        self.lost = asyncio.Event()
        self._loop = loop
        self._timeout = timeout
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._asked: deque[tuple[asyncio.Future[object], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def request(self, words: Sequence[Word]) -> asyncio.Future[object]:
        """Send a command with the others of this turn; the future is its answer, an error reply included."""
        future: asyncio.Future[object] = self._loop.create_future()
        if self.closed:
            future.set_exception(StoreError("redis: the connection was lost"))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(cast("Any", tuple(words))))
        self._asked.append((future, self._loop.time() + self._timeout))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check_timeout)
        return future

    async def answered(self) -> None:
        """Wait until there is an answer to all that was asked, or the connection is dropped."""
        if waiting := [future for future, _ in self._asked if not future.done()]:
            await asyncio.wait(waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                future, _ = self._asked.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.drop(f"redis: what answers there is no Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.drop(f"redis: the connection was lost: {exc or 'closed by the server'}")

    def drop(self, why: str) -> None:
        """Close, and tell everybody who waits."""
        if not self.closed:
            self.closed = True
            self._transport.abort()
            if self._timer is not None:
                self._timer.cancel()
            for future, _ in self._asked:
                if not future.done():
                    future.set_exception(StoreError(why))
            self._asked.clear()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self.closed:
            self._transport.write(b"".join(out))

    def _check_timeout(self) -> None:
        """Drop a connection whose oldest question is overdue."""
        self._timer = None
        if self._asked:
            left = self._asked[0][1] - self._loop.time()
            if left <= 0:
                self.drop(f"redis: no answer within {self._timeout:g} s")
            else:
                self._timer = self._loop.call_later(left, self._check_timeout)


def _greeting(user: str | None, password: str | None, database: str) -> list[tuple[Word, ...]]:
    commands: list[tuple[Word, ...]] = []
    if password:
        commands.append(("AUTH", *([unquote(user)] if user else []), unquote(password)))
    if database and database != "0":
        commands.append(("SELECT", int(database)))
    return commands


def _forgotten(reply: object) -> bool:
    """Whether Redis has no script of that digest: it was started anew."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")


def _checked(reply: object) -> Reply:
    if isinstance(reply, hiredis.ReplyError):
        raise StoreError(f"redis: {reply}")
    return cast("Reply", reply)
