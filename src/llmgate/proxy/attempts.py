"""The places where a request is tried, one after the other, until one answers; never after the first byte."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..backends.catalog import FallbackOn
from ..backends.refusals import MAX_READ, TOO_LONG, is_too_long
from ..errors import Unavailable, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..backends.catalog import Target
    from ..errors import Header
    from ..exchange import Exchange, Push
    from .engines.base import UpstreamRequest, UpstreamResponse
    from .upstreams import Lease, Upstream

    RequestFor = Callable[[Target | None], tuple[Upstream, UpstreamRequest]]

logger = logging.getLogger("llmgate.proxy")

BUSY = frozenset({429, 503, 529})
DOWN = frozenset({502, 504})


class Attempts:
    """The attempts of one request. `request_for` makes the request for a target; None: the route's only upstream.

    A body that comes in pieces is sent once: then there is no second attempt (`repeatable`).
    """

    __slots__ = ("_at", "_exchange", "_repeatable", "_request_for")

    def __init__(self, exchange: Exchange, request_for: RequestFor, *, repeatable: bool) -> None:
        self._exchange = exchange
        self._request_for = request_for
        self._repeatable = repeatable
        self._at = 0

    def request(self) -> tuple[Upstream, UpstreamRequest]:
        """Where the request goes now, and how it looks there."""
        exchange = self._exchange
        if not exchange.targets:
            return self._request_for(None)
        target = exchange.targets[self._at]
        exchange.answers_with(target)
        return self._request_for(target)

    def send(self, upstream: Upstream, request: UpstreamRequest) -> Awaitable[Lease | None]:
        """The answer; None if the next target is to be tried.

        Raises `UpstreamFailed`, or `Unavailable` where it had no place, if there is none.
        """
        if self._is_last:
            return upstream.send(request, self._exchange)
        return self._send(upstream, request)

    async def _send(self, upstream: Upstream, request: UpstreamRequest) -> Lease | None:
        try:
            lease = await upstream.send(request, self._exchange)
        except (UpstreamFailed, Unavailable) as failure:
            if self._goes_on(_why(failure), failure.message):
                return None
            raise
        status = lease.response.status
        if status < 400:
            return lease
        try:
            reason = await self._reason(lease)
        except BaseException:
            lease.close()
            raise
        if reason is not None and self._goes_on(reason, f"status {status}"):
            lease.close()
            return None
        return lease

    @property
    def _is_last(self) -> bool:
        return not self._repeatable or self._at + 1 >= len(self._exchange.targets)

    def _goes_on(self, reason: FallbackOn, said: str) -> bool:
        if reason not in self._exchange.fallback_on or self._exchange.client_left:
            return False
        target = self._exchange.targets[self._at]
        logger.warning(
            "request %s: %s on %s is tried elsewhere (%s: %s)",
            *(self._exchange.id, target.model, target.upstream, reason, said),
        )
        self._at += 1
        return True

    async def _reason(self, lease: Lease) -> FallbackOn | None:
        """Why an error is one that another target may not have."""
        response = lease.response
        if response.status in BUSY:
            return FallbackOn.BUSY
        if response.status in DOWN:
            return FallbackOn.DOWN
        if response.status in TOO_LONG and FallbackOn.CONTEXT in self._exchange.fallback_on:
            lease.response = looked_at = LookedAt(response)
            if is_too_long(response.status, await looked_at.head()):
                return FallbackOn.CONTEXT
        return None


def _why(failure: UpstreamFailed | Unavailable) -> FallbackOn:
    """It could not be reached, was too slow, or had no place in time."""
    if isinstance(failure, Unavailable):
        return FallbackOn.BUSY
    return FallbackOn.TIMEOUT if failure.answer_status == 504 else FallbackOn.DOWN


class LookedAt:
    """A response whose first pieces have been read already: whoever reads it gets them first."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response
        self._pieces: list[bytes] = []
        self.status = response.status
        self.headers: list[Header] = response.headers

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return not self._pieces and self._response.ended

    async def head(self) -> bytes:
        """The first bytes of the body, all of it if it is short."""
        size = 0
        while size < MAX_READ and not self._response.ended:
            piece = await self._response.read()
            self._pieces.append(piece)
            size += len(piece)
        return b"".join(self._pieces)

    async def read(self) -> bytes:
        """The next piece."""
        if self._pieces:
            return self._pieces.pop(0)
        return await self._response.read()

    def whole(self) -> bytes | None:
        """See `UpstreamResponse.whole`."""
        rest = b"" if self._response.ended else self._response.whole()
        if rest is None:
            return None
        rest = b"".join([*self._pieces, rest])
        self._pieces.clear()
        return rest

    async def pump(self, push: Push) -> Awaitable[None] | None:
        """See `UpstreamResponse.pump`."""
        return None if self._pieces else await self._response.pump(push)

    def abort(self) -> None:
        """Give it up."""
        self._response.abort()
