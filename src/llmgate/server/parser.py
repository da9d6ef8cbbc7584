"""What a client sends, read into requests (RFC 9112): bytes in, requests and their bodies out. Does no I/O."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn, Protocol
from urllib.parse import unquote

import httptools

from ..errors import BadRequest, Refusal

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..errors import Header

VERSIONS = frozenset({"1.0", "1.1"})
VERSION = re.compile(rb" HTTP/(?!1\.[01]$)\d\.\d$")
_AUTHORITY_END = re.compile(rb"[/?#]")
OTHER_PROTOCOLS = (b"RTSP/1.0", b"ICE/1.0")
FRAMING_PER_BYTE = 16
"""Bytes of chunk framing allowed for each byte of a body, beyond `max_header` of them: chunks of one byte have six."""


class Pending(IntEnum):
    """What a client has begun and not ended: nothing as long as no byte of a next request has come."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


NOTHING, HEAD, BODY = Pending
"""At hand: to look a member up in its class takes longer than all that is done by it."""


class Body(Protocol):
    """Whom a request's body goes to."""

    def feed(self, piece: bytes) -> None:
        """A piece of it has come, without its chunking."""

    def feed_eof(self) -> None:
        """It is complete."""


class RequestSink(Protocol):
    """Whom a parser tells what it reads."""

    def on_request(self, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> Body | None:
        """The head of a request is there. Returns what takes its body, None if nobody wants it.

        Raises `Refusal` for a request that cannot be taken.
        """

    def on_websocket(self, head: bytes) -> bool:
        """A client asks for a WebSocket by `head`, with what came behind it. Returns whether it gets one."""


class RequestParser:
    """Reads requests for `sink`, whose heads have at most `max_header` bytes; `template` is laid under each scope.

    `pending` is what has begun and not ended, `part` another number whenever a next part has begun; `body` takes
    the body that comes, None if nobody wants it; `body_bytes` counts what all bodies had so far.
    """

    __slots__ = (
        "_data", "_head_reads", "_headers", "_max_header", "_mixed", "_parser", "_refusal", "_sink", "_template",
        "_unproductive", "_url", "body", "body_bytes", "part", "pending",
    )  # fmt: skip

    def __init__(self, sink: RequestSink, max_header: int, template: Scope) -> None:
        self.pending = NOTHING
        self.part = 0
        self.body: Body | None = None
        self.body_bytes = 0
        self._sink = sink
        self._max_header = max_header
        self._template = template
        self._parser = _parser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._data = b""  # what is being read
        self._head_reads: list[bytes] = []  # what has come since a read in which the head began
        self._unproductive = (
            0  # bytes that came without enough of a body among them: a head, framing, trailers
        )
        self._mixed = False  # the head began behind another request, so that its bytes were not counted
        self._refusal: Refusal | None = None  # why the parser was stopped

    def feed(self, data: bytes) -> None:
        """Read on. Raises `Refusal` for what is no request, or too large for one."""
        self._data = data
        if self.pending is NOTHING:
            self._begin_head()
        elif self.pending is HEAD:
            self._head_reads.append(data)
        self._unproductive += len(data)
        self._parse(data)
        self._data = b""
        if self._unproductive > self._max_header and self.pending is not NOTHING:
            raise self._too_large()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            raise self._refusal or self._not_http() from error

    def _upgrade(self, rest: bytes) -> None:
        """Offer a WebSocket; else read the request as if nothing had been offered (RFC 9110 7.8).

        Some clients offer h2c with every first request. The parser has left out the body.
        """
        version = self._parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        head += [b"%b: %b" % pair for pair in self._headers]
        is_get = self._parser.get_method() == b"GET"
        whole = b"\r\n".join([*head, b"", rest])
        if is_get and _asks_for_websocket(self._headers) and self._sink.on_websocket(whole):
            return
        head[1:] = [b"%b: %b" % pair for pair in self._headers if pair[0] != b"upgrade"]
        self._parser = _parser(self)
        self._parse(b"\r\n".join([*head, b"", rest]))

    def _begin_head(self) -> None:
        self.pending = HEAD
        self.part += 1
        self._unproductive = 0
        self._head_reads = [self._data]

    def _too_large(self) -> Refusal:
        message = f"The head of the request is over the limit of {self._max_header} bytes."
        return BadRequest(message, status=431, code="headers_too_large")

    def _not_http(self) -> Refusal:
        """What the parser could not read: a later HTTP by its first line, or no HTTP at all."""
        line = b"".join(self._head_reads).lstrip(b"\r\n").partition(b"\r\n")[0]
        if VERSION.search(line):
            return _unsupported()
        return BadRequest("The request is not HTTP/1.1.", code="bad_request")

    # httptools.HttpRequestParser

    def on_message_begin(self) -> None:
        """A request begins, maybe right behind another one."""
        self._url = b""
        self._headers = []
        self._mixed = self.pending is not HEAD
        if self._mixed:
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or a trailer, which goes where nobody looks."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there: what it really was in size counts, not what came along with it."""
        headers, parser = self._headers, self._parser
        if self._mixed or self._unproductive > self._max_header:
            size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > self._max_header:
                self._stop(self._too_large())
        method = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version not in VERSIONS or (version == "1.0" and self._is_foreign(method)):
            self._stop(_unsupported())
        if parser.should_upgrade():
            if method == "CONNECT":
                self._stop(BadRequest("This gate is no tunnel."))
            return  # and see _upgrade
        names = [name for name, _ in headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and version == "1.1"):
            self._stop(BadRequest("A request has exactly one Host header."))  # RFC 9112 3.2
        self._headers = []
        self._head_reads.clear()
        self._unproductive = 0
        self.pending = BODY
        self.part += 1
        try:
            self.body = self._sink.on_request(
                self._scope(method, version, headers),
                keep_alive=version != "1.0" and parser.should_keep_alive(),
                expects_continue=b"expect" in names and version != "1.0" and _expects(headers),
            )
        except Refusal as refusal:
            self._stop(refusal)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunking."""
        size = len(body)
        self.body_bytes += size
        unproductive = self._unproductive - (1 + FRAMING_PER_BYTE) * size
        self._unproductive = unproductive if unproductive > 0 else 0
        if self.body is not None:
            self.body.feed(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless the parser believes that another protocol follows."""
        if self.pending is not BODY:
            return
        self.pending = NOTHING
        if self.body is not None:
            self.body.feed_eof()
            self.body = None

    def _stop(self, refusal: Refusal) -> NoReturn:
        """Stop the parser from within its callback."""
        self._refusal = refusal
        raise refusal

    def _is_foreign(self, method: str) -> bool:
        """Whether a request of version 1.0 is one of RTSP or ICE: the parser knows them, and does not tell."""
        came = b"".join(self._head_reads)
        return any(b" ".join((method.encode(), self._url, other)) in came for other in OTHER_PROTOCOLS)

    def _scope(self, method: str, version: str, headers: list[Header]) -> Scope:
        raw_path, query, authority = _target(self._url)
        if authority is not None:
            headers = [(b"host", authority), *(pair for pair in headers if pair[0] != b"host")]
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        if root := self._template["root_path"]:
            path, raw_path = root + path, root.encode("ascii") + raw_path
        return {
            **self._template,
            "http_version": version,
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
        }


def _parser(parser: RequestParser) -> httptools.HttpRequestParser:
    made = httptools.HttpRequestParser(parser)
    # What follows a last request (`Connection: close`) is no error of that request.
    made.set_dangerous_leniencies(lenient_data_after_close=True)
    return made


def _unsupported() -> Refusal:
    message = "Only HTTP/1.1 and HTTP/1.0 are spoken here."
    return BadRequest(message, status=505, code="http_version_not_supported")


def _target(url: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Path, query and, of a target in absolute form, the host that counts instead of Host's (RFC 9112 3.2.2)."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query, None
    parsed = httptools.parse_url(url)
    authority = None
    if parsed.schema is not None:
        rest = url.partition(b"://")[2]
        authority = _AUTHORITY_END.split(rest, 1)[0].rpartition(b"@")[2]
    return parsed.path or b"/", parsed.query or b"", authority


def _expects(headers: list[Header]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


def _asks_for_websocket(headers: list[Header]) -> bool:
    fields = dict(headers)
    return fields.get(b"upgrade", b"").lower() == b"websocket" and b"sec-websocket-key" in fields
