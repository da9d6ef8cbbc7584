"""The other engine: the seam over an `httpx.AsyncClient`, for mocks and custom transports. Not for speed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from .base import (
    ConnectFailed,
    ConnectTimedOut,
    FirstByteTimedOut,
    IdleTimedOut,
    UpstreamBroke,
    UpstreamError,
)
from .trust import trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from ...errors import Header
    from ...exchange import Push
    from .base import Origin, Timeouts, UpstreamRequest

ERRORS: dict[type[httpx.TransportError], type[UpstreamError]] = {
    httpx.ConnectTimeout: ConnectTimedOut,
    httpx.PoolTimeout: ConnectTimedOut,
    httpx.ConnectError: ConnectFailed,
    httpx.ProxyError: ConnectFailed,
    httpx.UnsupportedProtocol: ConnectFailed,
    httpx.ReadTimeout: FirstByteTimedOut,
    httpx.TransportError: UpstreamBroke,
}
"""What each of httpx's transport errors is here, by its nearest ancestor."""


def translate(error: httpx.TransportError) -> UpstreamError:
    """`error` in the tree of `engine`."""
    kind = next(ERRORS[ancestor] for ancestor in type(error).__mro__ if ancestor in ERRORS)
    return kind(f"{type(error).__name__}: {error}")


class HttpxEngine:
    """`Engine` on httpx. A client that is given is used as it is, and stays the giver's to close.

    Without one, https origins are trusted by the system's trust and what is in `ca_file`, and reached through
    `proxy`, a URL that may hold a password. Raises `ConfigError` for a file of no use.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        self._owned = client is None
        self._by_proxy = proxy is not None
        self._client = client or httpx.AsyncClient(
            trust_env=False,
            verify=True if ca_file is None else trusting(ca_file),
            proxy=proxy,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4.0),
        )
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, origin: Origin, request: UpstreamRequest, timeouts: Timeouts) -> _Response:
        """See `Engine.send`. Never repeats a request."""
        first_byte_by = asyncio.get_running_loop().time() + timeouts.first_byte
        url, extensions = self._where(origin, request)
        extensions["timeout"] = httpx.Timeout(None, connect=timeouts.connect).as_dict()
        outgoing = httpx.Request(
            request.method,
            url,
            headers=[(b"host", origin.authority), *request.headers, *request.framing()],
            content=request.body,
            extensions=extensions,
        )
        try:
            async with asyncio.timeout(timeouts.first_byte):
                response = await self._client.send(outgoing, stream=True, follow_redirects=False)
        except TimeoutError as error:
            raise FirstByteTimedOut(f"{origin.url}: no answer within {timeouts.first_byte:g} s") from error
        except httpx.TransportError as error:
            raise translate(error) from error
        answer = _Response(self, response, timeouts.idle, first_byte_by)
        if not 200 <= response.status_code <= 599:
            answer.abort()
            raise UpstreamBroke(f"{origin.url}: not HTTP/1.1: status {response.status_code}")
        return answer

    def _where(self, origin: Origin, request: UpstreamRequest) -> tuple[httpx.URL | str, dict[str, Any]]:
        """The URL, and what stands in the request line: the target byte for byte; for a proxy that forwards, all of
        the URL (RFC 9112 3.2.2).

        A proxy that tunnels is asked by a request of its own, which httpcore gives the same extensions: a target
        there would be what it is asked to connect to. So it is in the URL, where httpx escapes what URLs cannot have.
        """
        target = origin.path + request.target
        if not self._by_proxy:
            return origin.url, {"target": target}
        if origin.scheme == "http":
            return origin.url, {"target": b"http://" + origin.authority + target}
        return httpx.URL(origin.url).copy_with(raw_path=target), {}

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        if self._owned:
            await self._client.aclose()
        await asyncio.gather(*self._closing)

    def close_soon(self, response: httpx.Response) -> None:
        """Close `response`, and with it the connection if it is not complete, in a task of its own."""
        task = asyncio.get_running_loop().create_task(response.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Response:
    """An `UpstreamResponse` over httpx's."""

    def __init__(
        self, engine: HttpxEngine, response: httpx.Response, idle: float, first_byte_by: float
    ) -> None:
        self._engine = engine
        self._response = response
        self._pieces: AsyncIterator[bytes] = response.aiter_raw()
        self._idle = idle
        self._first_byte_by: float | None = first_byte_by  # a head may come early; None once a piece has come
        self._aborted = False
        self.status = response.status_code
        self.headers: list[Header] = [(name.lower(), value) for name, value in response.headers.raw]
        self.ended = False

    async def read(self) -> bytes:
        """See `UpstreamResponse.read`."""
        if self.ended:
            return b""
        if self._aborted:
            raise UpstreamBroke("aborted by the gate")
        idle = self._idle
        if self._first_byte_by is not None:
            idle = max(idle, self._first_byte_by - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(idle):
                piece = await anext(self._pieces)
        except StopAsyncIteration:
            self.ended = True
            return b""
        except TimeoutError as error:
            self.abort()
            raise IdleTimedOut(f"silent for {idle:.3g} s within an answer") from error
        except httpx.TransportError as error:
            raise translate(error) from error
        self._first_byte_by = None
        return piece

    def whole(self) -> bytes | None:
        """See `UpstreamResponse.whole`."""
        return None

    async def pump(self, push: Push) -> Awaitable[None] | None:
        """See `UpstreamResponse.pump`: `read` says everything."""
        return None

    def abort(self) -> None:
        """See `UpstreamResponse.abort`."""
        if not self.ended and not self._aborted:
            self._aborted = True
            self._engine.close_soon(self._response)
