"""httpx over an engine: probes and questions take the same connections, and pass the same guard, as what is relayed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from .base import (
    DEFAULT_PORTS,
    ConnectFailed,
    ConnectTimedOut,
    FirstByteTimedOut,
    IdleTimedOut,
    Origin,
    Timeouts,
    UpstreamBroke,
    UpstreamError,
    UpstreamRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .base import Engine, UpstreamResponse

ERRORS: dict[type[UpstreamError], type[httpx.TransportError]] = {
    ConnectFailed: httpx.ConnectError,
    ConnectTimedOut: httpx.ConnectTimeout,
    FirstByteTimedOut: httpx.ReadTimeout,
    IdleTimedOut: httpx.ReadTimeout,
    UpstreamBroke: httpx.RemoteProtocolError,
}
"""What each of the engine's errors is to httpx."""

_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})


class EngineTransport(httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient(transport=...)`. The engine stays its owner's to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        url = request.url
        origin = Origin(url.scheme, url.raw_host.decode(), url.port or DEFAULT_PORTS[url.scheme])
        headers = [pair for pair in request.headers.raw if pair[0].lower() not in _FRAMING]
        asked = UpstreamRequest(request.method, url.raw_path, headers, await request.aread())
        with _translated(request):
            response = await self._engine.send(origin, asked, _timeouts(request))
        return httpx.Response(response.status, headers=response.headers, stream=_Stream(response, request))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: UpstreamResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated(self._request):
            while piece := await self._response.read():
                yield piece

    async def aclose(self) -> None:
        self._response.abort()


def _timeouts(request: httpx.Request) -> Timeouts:
    given = request.extensions.get("timeout", {})
    connect, read = (
        math.inf if (seconds := given.get(name)) is None else seconds for name in ("connect", "read")
    )
    return Timeouts(connect, read, read)


@contextmanager
def _translated(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except UpstreamError as error:
        raise ERRORS[type(error)](str(error), request=request) from error
