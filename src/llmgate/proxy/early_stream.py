"""Heartbeats before a backend has answered: an event stream that begins early, and says later what went wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import AnswerCut
from ..exchange import push_of
from .event_stream import DO_NOT_BUFFER, HEARTBEAT, is_event_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Message, Send

LARGEST_ERROR = 64 * 1024
"""Bytes that are read of an error, which goes out as one event."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    DO_NOT_BUFFER,
]


class EarlyStream:
    """A `send` for the answer to a request that asked for a stream.

    While nothing has come for `seconds`, it begins the answer (200) and sends a comment, and again every so many
    seconds. What the answer turns out to be follows: a stream as it is, anything else as an event with its body, an
    error of the gate's own, too, in the words that the API's streams have for it. Its headers and status are lost
    then. Raises `AnswerCut` for an answer that cannot follow: a compressed one.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._push = push_of(send)
        self._seconds = seconds
        self._began = False
        self._sending = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(
            self._send_heartbeats()
        )
        self._error: bytes | None = None

    def push(self, body: bytes) -> Awaitable[None] | None:
        """See `push_of`."""
        if self._beating is not None or self._error is not None:
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
        elif self._error is None:
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
        if not 200 <= start["status"] < 300 or not is_event_stream(start["headers"]):
            self._error = b""
        coding = next((value for name, value in start["headers"] if name == b"content-encoding"), b"identity")
        if coding != b"identity":
            raise AnswerCut("it is compressed, and a stream had begun that is not")

    async def _collect(self, message: Message) -> None:
        assert self._error is not None, "it follows the head of an error"
        self._error = (self._error + message.get("body", b""))[:LARGEST_ERROR]
        if not message.get("more_body", False):
            await self._send(
                {"type": "http.response.body", "body": event_of(self._error), "more_body": False}
            )


def event_of(body: bytes) -> bytes:
    """The event that has `body` as its data, which is the error of a stream; text that is no JSON becomes one."""
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        text = body.decode(errors="replace")
        told = {"error": {"message": text, "type": "api_error", "param": None, "code": None}}
    kind = b"event: error\n" if isinstance(told, dict) and told.get("type") == "error" else b""
    return b"%bdata: %b\n\n" % (kind, msgspec.json.encode(told))
