"""A request on its way through the relay: its body going up, its answer coming down, its client watched."""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from ..backends.json_body import read_fields
from ..errors import AnswerCut, ClientGone
from ..exchange import push_of, too_large, whole_of
from .engines.base import UpstreamError
from .event_stream import EventStream, is_event_stream, unbuffered
from .headers import response_headers
from .masking import Masker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from starlette.types import Message, Receive, Send

    from ..errors import Header
    from ..exchange import Exchange, Push
    from .attempts import Attempts
    from .engines.base import UpstreamRequest, UpstreamResponse
    from .upstreams import Lease, Upstream

logger = logging.getLogger("llmgate.proxy")

REFUSED_LIMIT = frozenset({400, 422})
"""Statuses by which backends refuse a limit that is over what their model takes."""
PLAIN = "/:@+,;=()[]{}!$&'* "
"""What stands in a header as it is; the rest of a model's name is percent-encoded."""
POLL_INTERVAL_S = 0.1
"""How often `DisconnectWatcher` polls. Nearly every short answer is over before the first poll and never pays for a
task that waits for its client to leave; a client that leaves earlier is noticed when that begins."""


class Upload:
    """A request body that comes in pieces, to be iterated over once. `exhausted`: its last piece was.

    Raises `ClientGone` where the client leaves before the end, `PayloadTooLarge` over `most` bytes.
    """

    __slots__ = ("_left", "_most", "_next", "_receive", "exhausted")

    def __init__(self, first: Message, receive: Receive, most: int) -> None:
        self._most = self._left = most
        self._next: Message | None = first
        self._receive = receive
        self.exhausted = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.exhausted:
            raise StopAsyncIteration
        message, self._next = self._next, None
        if message is None:
            message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.exhausted = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        self._left -= len(piece)
        if self._left < 0:
            raise too_large(self._most)
        return piece


class DisconnectWatcher:
    """Over the clients of all requests of a relay that nothing watches yet: one timer for all of them."""

    def __init__(self) -> None:
        self._waiting: set[ProxiedRequest] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request: ProxiedRequest) -> None:
        """It is under way."""
        self._waiting.add(request)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(POLL_INTERVAL_S, self._poll, loop)

    def discard(self, request: ProxiedRequest) -> None:
        """It is over."""
        self._waiting.discard(request)

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting = {request for request in self._waiting if not request.watch(loop)}
        self._timer = loop.call_later(POLL_INTERVAL_S, self._poll, loop) if self._waiting else None


class ProxiedRequest:
    """One request under way.

    Waiting for the upstream ends when the client leaves; `send` is never cancelled, since a layer above may be
    writing its books in there.
    """

    __slots__ = (
        "_disconnected",
        "_drained",
        "_events",
        "_exchange",
        "_lease",
        "_receive",
        "_send",
        "_task",
        "_upload",
        "_watcher",
    )

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._upload: Upload | None = None
        self._lease: Lease | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._disconnected = False
        self._drained: asyncio.TimerHandle | None = None
        self._events: EventStream | None = None

    async def run(self, attempts: Attempts, watch: DisconnectWatcher) -> None:
        """Make the attempts, forward the answer; returns early if the client leaves.

        An answer whose count is still to come (`Exchange.drain`) is waited for and read on for a moment.
        Raises `Refusal` before the answer has begun, `AnswerCut` after.
        """
        watch.add(self)
        try:
            lease: Lease | None = None
            while lease is None:
                upstream, request = attempts.request()
                if isinstance(request.body, Upload):
                    self._upload = request.body
                lease = await attempts.send(upstream, request)
            self._lease = lease
            if self._exchange.removable and lease.response.status in REFUSED_LIMIT:
                lease = await self._send_without_limit(upstream, request, lease)
            del attempts, request  # the request's body need not be kept for as long as the answer takes
            self._exchange.release()
            if (rest := self._forward(lease.response, upstream)) is not None:
                await rest
        except asyncio.CancelledError:
            if (
                self._lease is not None
                or not self._disconnected
                or self._task is None
                or self._task.uncancel()
            ):
                raise  # not the watch but the server ends this request
        finally:
            watch.discard(self)
            if self._drained is not None:
                self._drained.cancel()
            if self._watcher is not None:
                self._watcher.cancel()
                self._watcher = None  # what it raises then refers to us: no circle for the collector to find
            if self._events is not None:
                self._events.close()
            if self._lease is not None:
                self._lease.close()

    async def _send_without_limit(self, upstream: Upstream, request: UpstreamRequest, lease: Lease) -> Lease:
        """Repeat a request that was refused, as far as can be told, for a limit that the gate has added.

        Nothing was generated, and no byte has gone to the client. What the backend then generates by itself is
        less than the limit that it has refused.
        """
        exchange, body = self._exchange, request.body
        exchange.removable = False
        if not isinstance(body, bytes):
            return lease
        fields = read_fields(body)
        if not (added := exchange.added_limits & fields.keys()):
            return lease
        for name in added:
            del fields[name]
        lease.close()
        self._lease = None
        again = replace(request, body=msgspec.json.encode(fields))
        self._lease = await upstream.send(again, exchange)
        return self._lease

    def _forward(self, response: UpstreamResponse, upstream: Upstream) -> Awaitable[None] | None:
        """Send the answer: at once if it is whole (None), else by what is returned."""
        status = response.status
        headers, masker = Masker.of_answer(upstream.secrets, response_headers(response.headers, status))
        is_stream = is_event_stream(headers)
        if is_stream:
            headers = unbuffered(headers)
        if self._exchange.targets:
            headers.append((b"x-gate-model", _in_header(self._exchange.answering)))
        if (body := response.whole()) is not None:
            if masker is not None:
                body = masker.feed(body) + masker.flush()
            return whole_of(self._send)(status, headers, body)
        reader: UpstreamResponse | EventStream = response
        if is_stream:
            reader = self._events = EventStream(response, upstream.timeouts.heartbeat)
        return self._stream(status, headers, reader, masker)

    async def _stream(
        self,
        status: int,
        headers: list[Header],
        reader: UpstreamResponse | EventStream,
        masker: Masker | None,
    ) -> None:
        send, exchange = self._send, self._exchange
        await send({"type": "http.response.start", "status": status, "headers": headers})
        del headers
        push = push_of(send) if masker is None else _masked(push_of(send), masker)
        more = True
        while more and (not self._disconnected or exchange.drain > 0):
            if (rest := await reader.pump(push)) is not None:
                await rest
                continue
            try:
                piece = await reader.read()
            except UpstreamError as error:
                if self._disconnected:
                    return
                logger.warning("request %s, upstream %s: cut: %s", exchange.id, exchange.upstream, error)
                raise AnswerCut(str(error)) from error
            more = not reader.ended
            if masker is not None:
                piece = masker.feed(piece) if more else masker.feed(piece) + masker.flush()
            await send({"type": "http.response.body", "body": piece, "more_body": more})

    def watch(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait for the client to leave. False while its body comes: whoever reads that notices when it stops."""
        if self._upload is not None and not self._upload.exhausted:
            return False
        self._watcher = loop.create_task(self._await_disconnect())
        return True

    async def _await_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        exchange = self._exchange
        self._disconnected = exchange.client_left = True
        if exchange.drain > 0 and exchange.sent is not None and not exchange.queued:
            self._drained = asyncio.get_running_loop().call_later(exchange.drain, self._stop)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._lease is not None:
            self._lease.close()
        elif self._task is not None:
            self._task.cancel()


def _masked(push: Push, masker: Masker) -> Push:
    return lambda piece: push(masker.feed(piece))


@lru_cache(1024)
def _in_header(model: str) -> bytes:
    return quote(model, safe=PLAIN).encode("ascii")
