"""What an upstream sends, read into the answer that is waited for (RFC 9112). Does no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from ...errors import Header
    from .response import Response

MAX_HEAD_BYTES = 64 * 1024
"""What may come without one byte of body among it: a head, interim heads, trailers."""
EVENT_STREAM = b"text/event-stream"
NOTED_LENGTHS = frozenset({len(b"content-type"), len(b"keep-alive")})
"""Lengths of the names of headers that say something about the connection."""
KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout=(\d{1,6})")


class MalformedResponse(ValueError):
    """What came is not HTTP/1.1, or too large a head of it."""


class ResponseParser:
    """Fills one `Response` after the other, each announced by `expect`.

    Of the answer that is read, `begun` says that some byte of it came, `body_begun` one of its body; `surplus`
    that something came after it, `keep_alive` that the connection may be used again when it is complete,
    `keep_alive_hint` for how many seconds, `event_stream` that it is one.
    """

    __slots__ = (
        "_bodyless", "_headers", "_parser", "_response", "_without_body", "begun", "body_begun", "event_stream",
        "keep_alive", "keep_alive_hint", "surplus",
    )  # fmt: skip

    def __init__(self) -> None:
        self.begun = self.body_begun = self.keep_alive = self.event_stream = self.surplus = False
        self.keep_alive_hint: int | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._headers: list[Header] = []
        self._bodyless = False
        self._without_body = 0  # bytes that came since the last byte of a body

    def expect(self, response: Response, *, bodyless: bool) -> None:
        """The next answer is `response`. A `bodyless` one, to HEAD, ends with its head whatever its framing says."""
        self.begun = self.body_begun = self.keep_alive = self.event_stream = self.surplus = False
        self._response = response
        self._bodyless = bodyless
        self._without_body = 0

    def forget(self) -> None:
        """Nobody waits for the answer any more."""
        self._response = None
        if self._bodyless:  # httptools waits for the body that its head has announced
            self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Read on. Raises `MalformedResponse` while the answer is not complete."""
        self.begun = True
        self._without_body += len(data)
        response = self._response
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if response is not None and not response.complete:
                raise MalformedResponse(f"not HTTP/1.1: {error.__context__ or error}") from error
            self.surplus = True
        if self._without_body > MAX_HEAD_BYTES and response is not None and not response.complete:
            raise MalformedResponse(f"more than {MAX_HEAD_BYTES} bytes of headers")

    # httptools.HttpResponseParser

    def on_message_begin(self) -> None:
        """A final or interim (1xx) answer begins."""
        self._headers = []
        self.keep_alive_hint = None
        if self._response is None or self._response.complete:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or a trailer, which goes where nobody looks."""
        name = name.lower()
        self._headers.append((name, value))
        if len(name) in NOTED_LENGTHS:
            self._note(name, value)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self.event_stream = value.startswith(EVENT_STREAM)
        elif name == b"keep-alive" and (hint := KEEP_ALIVE_TIMEOUT.search(value)):
            self.keep_alive_hint = int(hint[1])

    def on_headers_complete(self) -> None:
        """The head of an answer is whole."""
        status = self._parser.get_status_code()
        response = self._response
        headers, self._headers = self._headers, []
        if status < 200 or response is None or response.complete:
            return
        if status > 599:
            raise ValueError(f"status {status}")
        if self._without_body > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in headers) > MAX_HEAD_BYTES:
            raise ValueError(f"more than {MAX_HEAD_BYTES} bytes of headers")
        response.headers = headers
        response.status = status
        if self._bodyless:
            self._complete(response)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunking."""
        self._without_body = 0
        self.body_begun = True
        response = self._response
        if response is None or response.complete:
            self.surplus = True
        else:
            response.pieces.append(body)

    def on_message_complete(self) -> None:
        """A final or interim answer is whole."""
        response = self._response
        if response is not None and response.status and not response.complete:
            self._complete(response)

    def _complete(self, response: Response) -> None:
        # httptools knows about keep-alive only until the message is over.
        self.keep_alive = self._parser.should_keep_alive()
        response.complete = True
