"""One whole answer of an upstream, for who wants no stream of bytes: metered, and watched for the client's leaving."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from ..backends.endpoint import Endpoint
from ..backends.request import parse_request
from ..errors import ClientGone, UpstreamFailed
from ..usage.hidden import with_unseen
from ..usage.meter import meter_for, unanswered
from ..usage.model import Certainty
from .engines.base import UpstreamError, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from ..errors import Header
    from ..exchange import Exchange
    from ..usage.model import Reading
    from .engines.base import UpstreamResponse

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Bytes of an answer, if nobody says otherwise: far more than a model makes in one."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, of whatever status, and what it used."""

    status: int
    headers: list[Header]
    body: bytes
    reading: Reading
    model: str


class _Lease(Protocol):
    response: UpstreamResponse

    def close(self) -> None: ...


class Sender(Protocol):
    """The part of an `Upstream` that is needed here."""

    name: str

    def own_headers(self) -> Mapping[bytes, bytes]:
        """The gate's own credential there."""

    def send(self, request: UpstreamRequest, exchange: Exchange | None = None) -> Awaitable[_Lease]:
        """The answer's head. Raises `UpstreamFailed`."""


async def complete(
    upstream: Sender,
    exchange: Exchange,
    receive: Receive,
    path: str,
    body: Mapping[str, Any],
    *,
    dialect: Dialect,
    endpoint: Endpoint = Endpoint.CHAT,
    largest: int = MAX_ANSWER_BYTES,
    timer: Callable[[], float] = time.monotonic,
) -> Completion:
    """What `upstream` answers to `body`, a JSON object, at `path`. See `Upstream.complete`."""
    raw = msgspec.json.encode(body)
    asked = parse_request(endpoint, raw)
    exchange.upstream, exchange.reading = upstream.name, unanswered(asked)
    exchange.model_request = exchange.model_request or asked
    request = UpstreamRequest("POST", path.encode("ascii"), _headers(upstream, exchange), raw)
    answer = _Answer(exchange, asked, dialect, largest, timer)

    def drain() -> float:
        return dialect.plain_drain if exchange.sent is not None and not exchange.queued else 0.0

    try:
        return await unless_gone(answer.of(upstream, request), receive, drain=drain)
    except ClientGone:
        reading = exchange.reading
        if exchange.sent is not None and reading is not None and reading.certainty is Certainty.ESTIMATED:
            exchange.reading = with_unseen(dialect, asked, reading, timer() - exchange.sent)
        raise


class _Answer:
    """An answer as it comes in, shown to a meter."""

    def __init__(
        self,
        exchange: Exchange,
        asked: ModelRequest,
        dialect: Dialect,
        largest: int,
        timer: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._asked = asked
        self._dialect = dialect
        self._largest = largest
        self._timer = timer

    async def of(self, upstream: Sender, request: UpstreamRequest) -> Completion:
        """All of it. Raises `UpstreamFailed` where it breaks off or is too large."""
        lease = await upstream.send(request, self._exchange)
        try:
            return await self._read(lease.response)
        except UpstreamError as error:
            raise UpstreamFailed(f'The upstream "{upstream.name}" broke off its answer.') from error
        finally:
            lease.close()

    async def _read(self, response: UpstreamResponse) -> Completion:
        exchange, pieces, size = self._exchange, [], 0
        kind = next((value for name, value in response.headers if name.lower() == b"content-type"), None)
        meter = meter_for(self._dialect, self._asked, status=response.status, content_type=kind)
        try:
            while size <= self._largest and (piece := await response.read()):
                if exchange.first_byte is None:
                    exchange.first_byte = self._timer()
                meter.feed(piece)
                pieces.append(piece)
                size += len(piece)
        finally:
            exchange.reading = meter.reading(finished=False)
        if size > self._largest:
            raise UpstreamFailed(f'The answer of "{exchange.upstream}" is over {self._largest} bytes.')
        meter.end()
        reading = meter.reading(finished=True)
        assert reading is not None, "an endpoint that is asked for an answer is counted"
        exchange.reading = reading
        exchange.model = exchange.model or meter.model or self._asked.model or ""
        return Completion(response.status, response.headers, b"".join(pieces), reading, exchange.model)


async def unless_gone(work: Awaitable[T], receive: Receive, *, drain: Callable[[], float] = lambda: 0.0) -> T:
    """The result of `work`, which is cancelled when the client leaves; then `ClientGone` is raised.

    `drain` says, asked when the client has left, for how many seconds the work may go on then. To be called once the
    request's body has been read: whatever else comes is not kept.
    """
    working: asyncio.Future[T] = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if (seconds := drain()) > 0:
            await asyncio.wait((working,), timeout=seconds)
        raise ClientGone
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(upstream: Sender, exchange: Exchange) -> list[Header]:
    return [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"x-request-id", exchange.id.encode("ascii")),
        *upstream.own_headers().items(),
    ]
