"""What a client sends, read into requests (RFC 9112): bytes in, cycles out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote

import httptools

from ..errors import BadRequest, Refusal
from .cycle import Cycle

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..errors import Header
    from .protocol import GateProtocol

NOTHING, HEAD, BODY = range(3)
"""What a client owes us: nothing as long as no byte of a next request has come."""


class Reader:
    """Reads the requests of `connection`, whose heads have at most `max_header` bytes.

    `owes` is what has begun and not ended, `phase` another number whenever a next part has begun. `cycle` is
    the request whose body comes; None if nobody wants it.
    """

    __slots__ = (
        "_connection", "_headers", "_max_header", "_mixed", "_parser", "_said", "_unproductive", "_url",
        "cycle", "owes", "phase",
    )  # fmt: skip

    def __init__(self, connection: GateProtocol, max_header: int) -> None:
        self.owes = NOTHING
        self.phase = 0
        self.cycle: Cycle | None = None
        self._connection = connection
        self._max_header = max_header
        self._parser = _parser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._unproductive = 0  # bytes that came without one of a body among them: a head, trailers
        self._mixed = False  # the head began behind another request, so that its bytes were not counted
        self._said: Refusal | None = None  # why the parser was stopped

    def feed(self, data: bytes) -> None:
        """Read on. Raises `Refusal` for what is no request, or too large for one."""
        if self.owes is NOTHING:
            self._expect_head()
        self._unproductive += len(data)
        self._parse(data)
        if self._unproductive > self._max_header and self.owes is not NOTHING:
            raise self._too_large()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            not_http = BadRequest("The request is not HTTP/1.1.", code="bad_request")
            raise self._said or not_http from error

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request as if nothing had been offered (RFC 9110 7.8): the parser has left out its body.

        Some clients offer h2c with every first request.
        """
        version = self._parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        head += [b"%b: %b" % pair for pair in self._headers if pair[0] != b"upgrade"]
        self._parser = _parser(self)
        self._parse(b"\r\n".join([*head, b"", rest]))

    def _expect_head(self) -> None:
        self.owes = HEAD
        self.phase += 1
        self._unproductive = 0

    def _too_large(self) -> Refusal:
        message = f"The head of the request is over the limit of {self._max_header} bytes."
        return BadRequest(message, status=431, code="headers_too_large")

    # httptools.HttpRequestParser

    def on_message_begin(self) -> None:
        """A request begins, maybe right behind another one."""
        self._url = b""
        self._headers = []
        self._mixed = self.owes is not HEAD
        if self._mixed:
            self._expect_head()

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
        if parser.should_upgrade():
            if method == "CONNECT":
                self._stop(BadRequest("This gate is no tunnel."))
            return  # and see _ignore_upgrade
        version = parser.get_http_version()
        names = [name for name, _ in headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and version == "1.1"):
            self._stop(BadRequest("A request has exactly one Host header."))  # RFC 9112 3.2
        cycle = Cycle(
            self._connection,
            self._scope(method, version),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            expects=b"expect" in names and version != "1.0" and _expects(headers),
        )
        self._headers = []
        self._unproductive = 0
        self.owes = BODY
        self.phase += 1
        try:
            self.cycle = cycle if self._connection.begin(cycle) else None
        except Refusal as refusal:
            self._stop(refusal)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunking."""
        self._unproductive = 0
        if self.cycle is not None:
            self.cycle.take(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless the parser believes that another protocol follows."""
        if self.owes is not BODY:
            return
        self.owes = NOTHING
        if self.cycle is not None:
            self.cycle.end()
            self.cycle = None

    def _stop(self, refusal: Refusal) -> NoReturn:
        """Stop the parser from within its callback."""
        self._said = refusal
        raise refusal

    def _scope(self, method: str, version: str) -> Scope:
        raw_path, query = _target(self._url)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._connection.server,
            "client": self._connection.client,
            "scheme": "http",
            "method": method,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
        }


def _parser(reader: Reader) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(reader)
    # What follows a last request (`Connection: close`) is no error of that request.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _target(url: bytes) -> tuple[bytes, bytes]:
    """Path and query. A target in absolute form is read as RFC 9112 3.2.2 wants it."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    return parsed.path or b"/", parsed.query or b""


def _expects(headers: list[Header]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
