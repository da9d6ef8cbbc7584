"""The seam between the relay and the wire: what is sent upstream, what comes back, and how that can fail.

    UpstreamError
    ├── ConnectFailed      no connection: refused, unreachable, unknown name, TLS; nothing was sent
    ├── ConnectTimedOut    no connection in time; nothing was sent
    ├── FirstByteTimedOut  the request is out, the head of the answer did not come in time
    ├── IdleTimedOut       the answer stalled between two pieces
    └── UpstreamBroke      the connection ended, or what came is not HTTP/1.1

An engine translates every foreign exception into this tree, except those that the request's own body
iterator raises: they pass through as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import msgspec

from ...errors import ConfigError, GateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from ...errors import Header
    from ...exchange import Push

DEFAULT_PORTS = {"http": 80, "https": 443}
CONTENT_METHODS = frozenset({"POST", "PUT", "PATCH"})
"""Methods that say `content-length: 0` when they have no body (RFC 9110 8.6)."""


class UpstreamError(GateError):
    """An upstream did not answer. `sent`: it may have acted on the request, so nobody may repeat it."""

    sent: bool = True


class ConnectFailed(UpstreamError):
    """No connection could be made; another replica may be tried."""

    sent = False


class ConnectTimedOut(UpstreamError):
    """No connection within `Timeouts.connect`; another replica may be tried."""

    sent = False


class FirstByteTimedOut(UpstreamError):
    """The answer's head was not there within `Timeouts.first_byte`."""


class IdleTimedOut(UpstreamError):
    """Nothing more of a begun answer came for `Timeouts.idle`."""


class UpstreamBroke(UpstreamError):
    """The connection ended before the answer did, or the answer is not HTTP/1.1."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a replica listens. `path` is put before every request target; it has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: bytes = b""
    authority: bytes = field(init=False, repr=False, compare=False)
    """What goes into the Host header (RFC 9112 3.2)."""
    host_line: bytes = field(init=False, repr=False, compare=False)
    url: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority.encode("ascii"))
        object.__setattr__(self, "host_line", b"host: " + self.authority)
        object.__setattr__(self, "url", f"{self.scheme}://{authority}{self.path.decode('ascii')}")

    @classmethod
    def parse(cls, url: str) -> Origin:
        """`url` as an origin; raises `ConfigError` that says what is wrong with it and how to write it."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _bad_url(url, str(error)) from error
        if parts.scheme not in DEFAULT_PORTS:
            raise _bad_url(url, "the scheme is not http or https")
        if not parts.hostname:
            raise _bad_url(url, "there is no host")
        if port == 0:
            raise _bad_url(url, "port 0 cannot be connected to")
        if parts.username is not None or parts.password is not None:
            raise _bad_url(
                url.replace(parts.netloc, parts.netloc.rpartition("@")[2]), "credentials belong in api_key"
            )
        if "?" in url or "#" in url:
            raise _bad_url(url, "a query or fragment has no place here")
        try:
            host = parts.hostname.encode("idna").decode("ascii")
            path = parts.path.rstrip("/").encode("ascii")
        except UnicodeError as error:
            raise _bad_url(url, "the host is no host name, or the path is not percent-encoded") from error
        if any(byte <= 0x20 or byte == 0x7F for byte in host.encode() + path):
            raise _bad_url(url, "it holds a space or a control character")
        return cls(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], path)


def _bad_url(url: str, why: str) -> ConfigError:
    return ConfigError([f'upstream URL "{url}": {why}; write http://HOST:PORT or https://HOST/BASE'])


class UpstreamRequest(msgspec.Struct, frozen=True):
    """A request as it goes upstream.

    `headers` hold neither Host nor framing (Content-Length, Transfer-Encoding): the engine writes those.
    A `body` that is an iterator goes out as it yields, with `length` bytes announced, or chunked without one.
    """

    method: str
    target: bytes
    headers: list[Header]
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None

    def __repr__(self) -> str:
        """Without headers and body: keys and prompts are in there."""
        return f"UpstreamRequest({self.method} {self.target!r})"

    def framing(self) -> list[Header]:
        """The header that delimits the body (RFC 9112 6)."""
        if isinstance(self.body, bytes):
            if self.body or self.method in CONTENT_METHODS:
                return [(b"content-length", b"%d" % len(self.body))]
            return []
        if self.length is not None:
            return [(b"content-length", b"%d" % self.length)]
        return [(b"transfer-encoding", b"chunked")]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: for a connection, from the request to the first byte of its answer, between two pieces of it.

    Every `heartbeat` seconds until the first event of a stream its client is sent a comment; None: never.
    """

    connect: float = 5.0
    first_byte: float = 600.0
    idle: float = 300.0
    heartbeat: float | None = None


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Headers are the upstream's own, in its order, names in lower case."""

    @property
    def status(self) -> int:
        """The final status; interim ones (1xx) are skipped."""

    @property
    def headers(self) -> list[Header]:
        """Every header line, duplicates included."""

    @property
    def ended(self) -> bool:
        """True once `read` has given the last byte and this is already known: `read` would return b""."""

    async def read(self) -> bytes:
        """What has arrived since the last call, as soon as there is something; b"" at the end.

        Raises `IdleTimedOut` and `UpstreamBroke`, after everything that did arrive was given.
        """

    def whole(self) -> bytes | None:
        """The body, if all of it is here already, which is read then; None where something is to be waited for."""

    async def pump(self, push: Push) -> Awaitable[None] | None:
        """Give each piece to `push` when it comes, until one leaves something to be done, which is returned.

        None is returned when only `read` can tell what is next: at the end, and where the answer breaks off.
        What `push` raises is raised by what is returned.
        """

    def abort(self) -> None:
        """Close the upstream connection now, unless the answer is complete. Harmless to repeat.

        A `read` that waits raises `UpstreamBroke`.
        """


class Engine(Protocol):
    """An HTTP/1.1 client with a pool of connections. It neither follows redirects nor decodes content."""

    def send(
        self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts
    ) -> Awaitable[UpstreamResponse]:
        """Send `request` and return once the head of its answer is here; raises `UpstreamError`.

        Cancelling the call closes the connection at once.
        """

    async def aclose(self) -> None:
        """Close every connection; answers still being read break."""
