"""Heartbeats before a backend has answered: an event stream that begins early, and says later what went wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from ..errors import AnswerCut
from ..exchange import push_of
from .event_stream import DO_NOT_BUFFER, HEARTBEAT, is_event_stream
from .late_answer import EVENT_STARTS, events_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Message, Send

LARGEST_ERROR = 64 * 1024
"""Bytes that are read of an error, which goes out as one event."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of a plain answer that is told as a stream."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    DO_NOT_BUFFER,
]


class EarlyStream:
    """A `send` for the answer to a request that asked for a stream.

    While nothing has come for `seconds`, it begins the answer (200) and sends a comment, and again every so many
    seconds. What the answer turns out to be follows: a stream as it is, anything else as events of the API of
    `endpoint` (see `late_answer`), errors of the gate's own, too. Its headers and status are lost then. Raises
    `AnswerCut` for an answer that cannot follow: one that is compressed, or over `LARGEST_ANSWER`.
    """

    def __init__(self, send: Send, seconds: float, endpoint: Endpoint = Endpoint.CHAT) -> None:
        self._send = send
        self._endpoint = endpoint
        self._push = push_of(send)
        self._seconds = seconds
        self._began = False
        self._sending = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(
            self._send_heartbeats()
        )
        self._status = 0
        self._body: bytes | None = None
        """Of an answer that is no stream, so far."""

    def push(self, body: bytes) -> Awaitable[None] | None:
        """See `push_of`."""
        if self._beating is not None or self._body is not None:
            return self({"type": "http.response.body", "body": body, "more_body": True})
        return self._push(body)

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`."""
        if self._beating is not None:
            async with self._sending:  # a heartbeat that is on its way arrives
                self.close()
        if not self._began:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._follow(message)
        elif self._body is None:
            await self._send(message)
        else:
            await self._collect(message)

    def close(self) -> None:
        """No more heartbeats."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            async with self._sending:
                if not self._began:
                    self._began = True
                    await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                await self._send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})

    def _follow(self, start: Message) -> None:
        self._status = start["status"]
        if not 200 <= self._status < 300 or not is_event_stream(start["headers"]):
            self._body = b""
        coding = next((value for name, value in start["headers"] if name == b"content-encoding"), b"identity")
        if coding != b"identity":
            raise AnswerCut("it is compressed, and a stream had begun that is not")

    async def _collect(self, message: Message) -> None:
        assert self._body is not None, "it follows the head of an answer that is no stream"
        body, more = self._body + message.get("body", b""), message.get("more_body", False)
        good = 200 <= self._status < 300
        if good and body.startswith(EVENT_STARTS):  # it is one, under another name
            self._body = None
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
            return
        if good and len(body) > LARGEST_ANSWER:
            raise AnswerCut("it is no stream, and too large to be told as one")
        self._body = body if good else body[:LARGEST_ERROR]
        if not more:
            body = events_of(self._endpoint, self._status, self._body)
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
