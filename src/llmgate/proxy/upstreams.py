"""An upstream: replicas of one backend, the choice among them, their circuit breakers, and failover."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends.dialect import DIALECTS
from ..backends.endpoint import Endpoint
from ..errors import ConfigError, UpstreamFailed
from .completion import LARGEST, Completion, complete
from .engines.base import ConnectTimedOut, FirstByteTimedOut, Origin, Timeouts, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from starlette.types import Receive

    from ..backends.dialect import Dialect
    from ..exchange import Exchange
    from .engines.base import Engine, UpstreamRequest, UpstreamResponse

logger = logging.getLogger("llmgate.proxy")

TOO_SLOW = (ConnectTimedOut, FirstByteTimedOut)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """After `failures` in a row a replica rests for `open_for` seconds; `statuses` count as failures."""

    failures: int = 5
    open_for: float = 10.0
    statuses: frozenset[int] = frozenset({502, 503, 504})


class Breaker:
    """A circuit breaker: closed, open for a time, then half-open, when one request probes.

    `admit` says whether the request is the probe; exactly one of `succeeded`, `failed`, `abandoned` follows.
    """

    __slots__ = ("_clock", "_failures", "_opened", "_probing", "_settings")

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        if self._opened is None:
            return "closed"
        return "open" if self.wait() > 0 else "half_open"

    def wait(self) -> float:
        """Seconds until a request may be tried."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self._settings.open_for - self._clock())

    def ready(self) -> bool:
        """Whether `admit` would say yes."""
        return self._opened is None or (not self._probing and self.wait() == 0)

    def admit(self) -> bool:
        """A request goes out; returns whether it is the probe of a half-open breaker."""
        self._probing = self._opened is not None
        return self._probing

    def succeeded(self) -> None:
        """The replica answered."""
        self._failures = 0
        self._opened = None
        self._probing = False

    def failed(self, *, probe: bool) -> None:
        """It did not, or not usefully. Requests from before it opened do not keep it open for longer."""
        self._failures += 1
        if probe or (self._opened is None and self._failures >= self._settings.failures):
            self._opened = self._clock()
        self._probing = self._probing and not probe

    def abandoned(self, *, probe: bool) -> None:
        """The request was given up before an answer; nothing is known."""
        self._probing = self._probing and not probe


class Replica:
    """One server of an upstream. `healthy` is what active health checks last found."""

    __slots__ = ("breaker", "healthy", "in_flight", "origin")

    def __init__(self, origin: Origin, breaker: Breaker) -> None:
        self.origin = origin
        self.breaker = breaker
        self.healthy = True
        self.in_flight = 0


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica as metrics and readiness show it."""

    url: str
    healthy: bool
    breaker: str
    in_flight: int


class Lease:
    """A request on a replica, from its answer's head until `close`."""

    __slots__ = ("_replica", "response")

    def __init__(self, replica: Replica, response: UpstreamResponse) -> None:
        self._replica: Replica | None = replica
        self.response = response

    def close(self) -> None:
        """Give the replica back; an answer that is not complete is aborted."""
        if self._replica is not None:
            self._replica.in_flight -= 1
            self._replica = None
            self.response.abort()


class Upstream:
    """Replicas that serve the same models, behind one engine.

    `urls` are the servers' roots, `models` maps names that clients use to the upstream's own, `api_key` is put
    in place of the callers' credentials. Raises `ConfigError` for a bad URL or key.
    """

    def __init__(
        self,
        name: str,
        urls: Iterable[str],
        *,
        engine: Engine,
        timeouts: Timeouts | None = None,
        api_key: str | None = None,
        models: Mapping[str, str] | None = None,
        breaker: BreakerSettings | None = None,
        dialect: Dialect = DIALECTS["generic"],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.timeouts = timeouts or Timeouts()
        self.models = dict(models or {})
        self.authorization = None if api_key is None else _bearer(name, api_key)
        self._engine = engine
        self._breaker = breaker or BreakerSettings()
        self.replicas = [Replica(Origin.parse(url), Breaker(self._breaker, clock)) for url in urls]
        if not self.replicas:
            raise ConfigError([f'upstream "{name}" has no URL; give at least one'])
        self._turn = 0

    def state(self) -> list[ReplicaState]:
        """Every replica as it stands now."""
        return [ReplicaState(r.origin.url, r.healthy, r.breaker.state, r.in_flight) for r in self.replicas]

    def any_ready(self) -> Replica | None:
        """The least busy replica that works, for questions of the gate's own; None if there is none."""
        ready = (r for r in self.replicas if r.healthy and r.breaker.state == "closed")
        return min(ready, key=lambda replica: replica.in_flight, default=None)

    def own_headers(self) -> dict[bytes, bytes]:
        """The headers that a request of the gate's own needs here."""
        return {} if self.authorization is None else {b"authorization": self.authorization}

    async def send(self, request: UpstreamRequest) -> Lease:
        """The answer of the least busy replica, of the next one where nothing was sent to the first.

        Raises `UpstreamFailed`: 502 refused or broken, 503 with Retry-After when no replica is available, 504
        too slow. Whoever gets a lease closes it.
        """
        tried: list[Replica] = []
        failure: UpstreamError | None = None
        while (replica := self._choose(tried)) is not None:
            tried.append(replica)
            try:
                return await self._try(replica, request)
            except UpstreamError as error:
                logger.warning("upstream %s: %s", self.name, error)
                failure = error
                if error.sent:
                    break
        raise self._refusal(failure) from failure

    async def complete(
        self,
        exchange: Exchange,
        receive: Receive,
        path: str,
        body: Mapping[str, Any],
        *,
        endpoint: Endpoint = Endpoint.CHAT,
        largest: int = LARGEST,
    ) -> Completion:
        """The whole answer, of whatever status, to `body`, a JSON object posted to `path`, metered.

        What it has used is in `exchange.reading` as well, also where it breaks off. The upstream is no longer
        asked when the client leaves, which `receive` tells once the request's body has been read; then
        `ClientGone` is raised. Raises `UpstreamFailed` as `send` does, where the answer breaks off, and for one
        over `largest` bytes.
        """
        return await complete(
            self, exchange, receive, path, body, dialect=self.dialect, endpoint=endpoint, largest=largest
        )

    async def _try(self, replica: Replica, request: UpstreamRequest) -> Lease:
        breaker = replica.breaker
        probe = breaker.admit()
        replica.in_flight += 1
        try:
            response = await self._engine.send(replica.origin, request, self.timeouts)
        except BaseException as error:
            replica.in_flight -= 1
            if isinstance(error, UpstreamError):
                breaker.failed(probe=probe)
            else:
                breaker.abandoned(probe=probe)
            raise
        if response.status in self._breaker.statuses:
            breaker.failed(probe=probe)
        else:
            breaker.succeeded()
        return Lease(replica, response)

    def _choose(self, tried: list[Replica]) -> Replica | None:
        """The available replica with the fewest requests in flight; equals take turns."""
        replicas = self.replicas
        self._turn = first = (self._turn + 1) % len(replicas)
        chosen = None
        for index in range(first - len(replicas), first):  # from `first` around to the one before it
            replica = replicas[index]
            if (
                (chosen is None or replica.in_flight < chosen.in_flight)
                and replica.healthy
                and replica.breaker.ready()
                and replica not in tried
            ):
                chosen = replica
        return chosen

    def _refusal(self, failure: UpstreamError | None) -> UpstreamFailed:
        if isinstance(failure, TOO_SLOW):
            return UpstreamFailed(f'The upstream "{self.name}" did not answer in time.', status=504)
        if failure is not None:
            return UpstreamFailed(f'The upstream "{self.name}" could not be reached or broke off.')
        wait = min((r.breaker.wait() for r in self.replicas if r.healthy), default=self._breaker.open_for)
        retry_after = b"%d" % max(1, math.ceil(wait))
        message = f'The upstream "{self.name}" is not available now.'
        return UpstreamFailed(message, status=503, headers=[(b"retry-after", retry_after)])


def _bearer(name: str, api_key: str) -> bytes:
    if not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
        raise ConfigError(
            [f'upstream "{name}": its api_key is empty or holds characters that no header can carry']
        )
    return b"Bearer " + api_key.encode("ascii")
