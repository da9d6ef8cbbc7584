"""Clients that send, read and leave as a plan says, and tell honestly what they saw."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum

import httptools
import msgspec

from .backend import DONE, MODEL, WORD, Script

STUCK_AFTER = 60.0
"""Seconds after which a request that has neither ended nor failed is a fault of the gate."""


ORDER = 20
"""Tokens of every order that a buyer gives to the surface, however many the answer has."""


class End(StrEnum):
    """How a request ended, as its client saw it."""

    FINISHED = "finished"
    """A whole answer with status 200; of a stream, up to its [DONE]."""
    TURNED_DOWN = "turned down"
    """A whole answer with another status."""
    UNHEARD = "not let in"
    """No connection could be made."""
    CUT = "cut"
    """The connection ended before the answer did."""
    LEFT = "left"
    """The client went away."""
    FALSE_END = "ended without [DONE]"
    """A stream that looked complete and was not."""
    STUCK = "stuck"


class Leaving(StrEnum):
    """How a client goes away."""

    CLOSE = "FIN"
    RESET = "reset"
    HALF = "half-close"


@dataclass(frozen=True, slots=True)
class Plan:
    """One request. With `leave_after` the client goes away after so many bytes, of both directions together."""

    account: str
    secret: str = field(repr=False)
    script: Script
    words: int = 5
    stream: bool = True
    max_tokens: int | None = None
    wants_usage: bool = False
    leave_after: int | None = None
    leaving: Leaving = Leaving.CLOSE
    buyer: str = ""
    """UUID of the user who consumes tokens by the surface; "" for who asks the route."""

    @property
    def path(self) -> str:
        """Where it goes."""
        return "/shop/api/v1/tokens/consume" if self.buyer else "/v1/chat/completions"

    @property
    def body(self) -> bytes:
        """The request's body."""
        if self.buyer:
            prompt = msgspec.json.encode(self.script).decode()
            order = {"userId": self.buyer, "provider": "backend", "tokens": ORDER, "prompt": prompt}
            return msgspec.json.encode(order)
        said: dict[str, object] = {"model": MODEL, "metadata": self.script, "stream": self.stream}
        said["messages"] = [{"role": "user", "content": "w " * self.words}]
        if self.max_tokens is not None:
            said["max_tokens"] = self.max_tokens
        if self.wants_usage:
            said["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(said)

    @property
    def unseen(self) -> float:
        """Tokens that a plain answer may have when nobody waits for it: up to the request's limit, if it has one."""
        if self.stream:
            return 0.0
        return math.inf if self.max_tokens is None else self.max_tokens

    @property
    def request(self) -> bytes:
        """All of it, as it goes over the wire."""
        body = self.body
        head = f"POST {self.path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {self.secret}\r\n"
        kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return (head + kind).encode() + body


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a client saw of one request. `id` is the gate's, "" where no head came; `tokens` those it read.

    `unseen` is what may have been made of an answer, and is charged, that its client did not wait for.
    """

    tag: str
    account: str
    end: End
    id: str = ""
    status: int = 0
    tokens: int = 0
    body_size: int = 0
    unseen: float = 0.0


class _Answer:
    """A response as it comes in (httptools' callbacks)."""

    def __init__(self, *, stream: bool) -> None:
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self.id = ""
        self.status = 0
        self.complete = False
        self.reusable = False

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-gate-request-id":
            self.id = value.decode()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    @property
    def tokens(self) -> int:
        return self._body.count(WORD.encode())

    @property
    def end(self) -> End | None:
        """How it has ended; None if it has not."""
        if self.status == 200 and self._stream:
            if self._body.endswith(DONE):
                return End.FINISHED
            return End.FALSE_END if self.complete else None
        if not self.complete:
            return None
        return End.FINISHED if self.status == 200 else End.TURNED_DOWN


class Client:
    """One client on one connection at a time, which it uses again where the gate lets it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, plan: Plan) -> Sighting:
        """Carry out `plan`."""
        answer = _Answer(stream=plan.stream)
        try:
            async with asyncio.timeout(STUCK_AFTER):
                end = await self._exchange(plan, answer)
        except TimeoutError:
            end = End.STUCK
        except OSError:
            end = answer.end or End.CUT
        if end not in (End.FINISHED, End.TURNED_DOWN) or not answer.reusable:
            self.close()
        return Sighting(
            plan.script.tag,
            plan.account,
            end,
            answer.id,
            answer.status,
            answer.tokens,
            len(plan.body),
            plan.unseen,
        )

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line[1].transport.abort()
            self._line = None

    async def _exchange(self, plan: Plan, answer: _Answer) -> End:
        if self._line is None:
            try:
                self._line = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                return End.UNHEARD
        reader, writer = self._line
        request, left = plan.request, plan.leave_after
        writer.write(request[:left])
        await writer.drain()
        if left is not None:
            left -= len(request)
        while left is None or left > 0:
            data = await reader.read(65_536 if left is None else min(left, 65_536))
            if not data:
                return answer.end or End.CUT
            answer.feed(data)
            if answer.end is not None and (answer.complete or plan.leave_after is not None):
                return answer.end
            if left is not None:
                left -= len(data)
        return await self._leave(plan.leaving, reader, writer, answer)

    async def _leave(
        self, how: Leaving, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: _Answer
    ) -> End:
        match how:
            case Leaving.RESET:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case Leaving.HALF:
                writer.write_eof()
                while data := await reader.read(65_536):
                    answer.feed(data)
            case Leaving.CLOSE:
                writer.close()
        self.close()
        return answer.end or End.LEFT
