"""What machines ask the gate about itself: is it alive, can it serve, and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CONTENT_TYPE_LATEST

from ..errors import send_json, send_whole

if TYPE_CHECKING:
    import httpx
    from starlette.types import Receive, Scope, Send

    from ..ledger import Ledger
    from ..proxy.replica import ReplicaState
    from ..proxy.upstreams import Upstream

log = logging.getLogger("llmgate")


UNCACHED = ((b"cache-control", b"no-store"),)


class Alive:
    """`/healthz`: 200 while the event loop turns."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await send_json(scope, send, {"status": "ok"}, headers=UNCACHED)


class Ready:
    """`/readyz`: 200 while the ledger takes records, limits can be counted, and some upstream may answer.

    Otherwise 503; the body says for each of them how it stands. One upstream of several that is away takes
    no gate out of service: all gates in front of it would go at once. Neither does one whose replicas are all
    late with their health, while they answer requests: "degraded". With `fail_open` the gate serves without
    its ledger too. `limits` is the store that limits are counted in, where the gate refuses requests without it.
    """

    def __init__(
        self,
        ledger: Ledger,
        upstreams: Mapping[str, Upstream],
        *,
        fail_open: bool = False,
        limits: Failing | None = None,
    ) -> None:
        self._ledger = ledger
        self._upstreams = upstreams
        self._fail_open = fail_open
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        upstreams = {name: _standing(upstream.state()) for name, upstream in self._upstreams.items()}
        ledger = self._ledger.commits.failing is None
        limits = self._limits is None or self._limits.failing is None
        serving = any(standing in SERVING for standing in upstreams.values()) or not upstreams
        ready = (ledger or self._fail_open) and limits and serving
        message = {
            "status": "ok" if ready else "unavailable",
            "ledger": "ok" if ledger else "unavailable",
            **({} if self._limits is None else {"limits": "ok" if limits else "unavailable"}),
            "upstreams": upstreams,
        }
        await send_json(scope, send, message, status=200 if ready else 503, headers=UNCACHED)


class Failing(Protocol):
    """Something that may be away."""

    @property
    def failing(self) -> str | None:
        """Why it does not answer; None while it does."""


SERVING = ("ok", "degraded")


def _standing(replicas: Sequence[ReplicaState]) -> str:
    """How an upstream stands, by its replicas."""
    if any(replica.healthy and replica.serves for replica in replicas):
        return "ok"
    if any(replica.serves for replica in replicas):
        return "degraded"
    return "key refused" if any(replica.key_refused for replica in replicas) else "unavailable"


class Scrape:
    """The metrics, which `own` makes in Prometheus' text format, behind those of `app_metrics`, if it is given."""

    def __init__(
        self,
        own: Callable[[], Awaitable[bytes]],
        app_metrics: Callable[[], Awaitable[bytes]] | None = None,
    ) -> None:
        self._own = own
        self._app_metrics = app_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        others = b"" if self._app_metrics is None else await self._app_metrics()
        own = await self._own()
        headers = [*UNCACHED, (b"content-type", CONTENT_TYPE_LATEST.encode())]
        await send_whole(scope, send, 200, headers, others + own)


class InnerMetrics:
    """Asks the app that the gate is put around for its metrics, by `http`, at `url`.

    b"" if it has none, or does not answer in time: then the gate's own are still there.
    """

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def __call__(self) -> bytes:
        """Metrics in Prometheus' text format."""
        import httpx  # noqa: PLC0415 - 9 MB, which only a gate around an app needs

        try:
            answer = await self._http.get(self._url, headers={"accept": CONTENT_TYPE_LATEST})
        except httpx.HTTPError as error:
            log.warning("the app's own metrics: %r", error)
            return b""
        is_text = answer.headers.get("content-type", "").startswith("text/plain")
        return answer.content if answer.is_success and is_text else b""
