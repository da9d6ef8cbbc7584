"""An upstream: replicas of one backend, the gate's own credentials for it, and failover."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..backends.dialect import DIALECTS
from ..backends.endpoint import Endpoint
from ..errors import ConfigError, GateError, Unavailable, UpstreamFailed
from .admission import QueueSettings
from .circuit_breaker import BreakerSettings
from .completion import MAX_ANSWER_BYTES, Completion, complete
from .credentials import Credentials
from .engines.base import ConnectTimedOut, FirstByteTimedOut, Origin, Timeouts, UpstreamError
from .masking import Secrets
from .questions import ask
from .replica import Replicas, ReplicaState
from .selection import BUSY, UNHEALTHY, LeastBusy, tier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from starlette.types import Receive

    from ..backends.dialect import Dialect
    from ..errors import Header
    from ..exchange import Exchange
    from .admission import Admission
    from .balance import Balance, Choose
    from .engines.base import Engine, UpstreamRequest, UpstreamResponse
    from .questions import Answer
    from .replica import Replica

logger = logging.getLogger("llmgate.proxy")

TOO_SLOW = (ConnectTimedOut, FirstByteTimedOut)
MAX_NAMES = 200
"""Names that are taken of one upstream: each is a time series for every other label."""
RETRY_STATUSES = frozenset({429, 503, 529})
"""What a replica answers that has too much to do: another may have room."""


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

    def with_place(self, admission: Admission) -> Lease:
        """The same lease, whose end gives the place of `admission` back as well."""
        assert self._replica is not None, "it was closed"
        return _Placed(self._replica, self.response, admission)


class _Placed(Lease):
    __slots__ = ("_admission",)

    def __init__(self, replica: Replica, response: UpstreamResponse, admission: Admission) -> None:
        super().__init__(replica, response)
        self._admission = admission

    def close(self) -> None:
        if self._replica is not None:
            super().close()
            self._admission.leave()


class KeyRefused(GateError):
    """A replica takes the gate's own key for a wrong one; it has done nothing."""

    sent = False

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url} refuses the gate's own key: status {status}")
        self.status = status


Failure = UpstreamError | KeyRefused


class Upstream:
    """Replicas that serve the same models, behind one engine.

    `urls` are the servers' roots, `models` maps names that clients use to the upstream's own. `api_key` is put
    in place of the callers' credentials, into the header `api_key_header` (as a bearer token, if that is
    Authorization); `headers` are sent with every request. Answers of `retry_statuses` are tried on another
    replica, if there is one and the body can be sent again. `known` are the replicas that the process has had
    under earlier settings. Requests to models wait for a place in `admission`, as `queue` says; `balance` chooses
    among replicas, the least busy one without it. Raises `ConfigError` for a bad URL, key or header.
    """

    def __init__(
        self,
        name: str,
        urls: Iterable[str],
        *,
        engine: Engine,
        timeouts: Timeouts | None = None,
        api_key: str | None = None,
        api_key_header: str = "authorization",
        headers: Mapping[str, str] = MappingProxyType({}),
        models: Mapping[str, str] | None = None,
        breaker: BreakerSettings | None = None,
        retry_statuses: Collection[int] = RETRY_STATUSES,
        known: Replicas | None = None,
        dialect: Dialect = DIALECTS["generic"],
        admission: Admission | None = None,
        queue: QueueSettings | None = None,
        balance: Balance | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.timeouts = timeouts or Timeouts()
        self.models = dict(models or {})
        own = Credentials.read(name, api_key, api_key_header, headers)
        self.credential, self.headers = own.credential, own.headers
        self.secrets = Secrets(own.secrets)
        """What no caller may see in its answers."""
        self._engine = engine
        self._breaker = breaker or BreakerSettings()
        self._retry_statuses = frozenset(retry_statuses)
        known = Replicas() if known is None else known
        self.replicas = [known.get(name, Origin.parse(url), self._breaker, clock) for url in urls]
        if not self.replicas:
            raise ConfigError([f'upstream "{name}" has no URL; give at least one'])
        self._balance = balance
        self._queue = queue or QueueSettings()
        most = self._queue.max_in_flight
        self._selection = LeastBusy(self.replicas) if most is None else LeastBusy(self.replicas, most=most)
        self.admission = admission
        self._clock = clock
        self.model_names: frozenset[str] = frozenset()
        """What it says it serves, as far as it was asked (see `model_names`)."""
        self.model_cards: Mapping[str, Mapping[str, Any]] = {}
        """And what it says of each."""
        self.lists_read = 0
        """How often that has changed."""

    def take_over(self) -> None:
        """These settings are in force now, also for replicas that were known under others before."""
        for replica in self.replicas:
            replica.breaker.settings = self._breaker
        if self.admission is not None:
            self.admission.change(self._queue, lambda: sum(replica.serves for replica in self.replicas))

    def came_back(self) -> None:
        """A replica may serve again: who waits for a place may get it."""
        if self.admission is not None:
            self.admission.admit()

    def lists_models(self, cards: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what it says it serves now, by the models' names."""
        names = frozenset(list(cards)[:MAX_NAMES])
        if names != self.model_names:
            self.lists_read += 1
        self.model_names = names
        self.model_cards = {name: card for name, card in cards.items() if name in names}

    @property
    def busy(self) -> float:
        """Requests in flight for each of the replicas that work."""
        serving = sum(replica.serves for replica in self.replicas)
        return sum(replica.in_flight for replica in self.replicas) / serving if serving else math.inf

    def state(self) -> list[ReplicaState]:
        """Every replica as it stands now."""
        return [ReplicaState.of(replica) for replica in self.replicas]

    def any_ready(self) -> Replica | None:
        """The least busy replica that works, for questions of the gate's own; None if there is none."""
        ready = (replica for replica in self.replicas if replica.serves)
        return min(ready, key=lambda replica: (tier(replica), replica.in_flight), default=None)

    def own_headers(self) -> dict[bytes, bytes]:
        """The headers that a request of the gate's own needs here."""
        own = dict(self.headers)
        if self.credential is not None:
            own[self.credential[0]] = self.credential[1]
        return own

    async def ask(self, replica: Replica, path: str, *, timeout: float, body: bytes | None = None) -> Answer:
        """What one replica answers to a question of the gate's own, with its own key (see `questions.ask`)."""
        return await ask(self._engine, replica.origin, path, self.own_headers(), timeout=timeout, body=body)

    def send(self, request: UpstreamRequest, exchange: Exchange | None = None) -> Awaitable[Lease]:
        """The answer of the least busy replica, or of the next one: where nothing was sent to the first, or it
        said that it is busy, or refused the gate's own key.

        The `exchange` of a request to a model says how it waits where places are bounded, and which replica knows its
        prompt. Raises `UpstreamFailed`: 502 refused or broken, 503 with Retry-After when no replica is available, 504
        too slow; `Unavailable` if no place comes free. Whoever gets a lease closes it.
        """
        if exchange is None:
            return self._send(request)
        if self.admission is None or exchange.model_request is None:
            exchange.sent = self._clock()
            return self._send(request, exchange)
        return self._send_in_turn(request, exchange, self.admission)

    async def _send_in_turn(
        self, request: UpstreamRequest, exchange: Exchange, admission: Admission
    ) -> Lease:
        await self._wait(admission, exchange)
        try:
            exchange.sent = self._clock()
            lease = await self._send(request, exchange)
        except BaseException:
            admission.leave()
            raise
        return lease.with_place(admission)

    @staticmethod
    async def _wait(admission: Admission, exchange: Exchange) -> None:
        """Wait for a place. A client that leaves meanwhile has used nothing: `Exchange.queued` stays set."""
        exchange.queued = True
        try:
            await admission.enter(admission.share_of(exchange))
        except Unavailable:
            exchange.queued = False
            raise
        exchange.queued = False

    async def _send(self, request: UpstreamRequest, exchange: Exchange | None = None) -> Lease:
        choose = self._selection.choose if self._balance is None else self._chooser(request, exchange)
        tried: list[Replica] = []
        failure: Failure | None = None
        spare: Lease | None = None  # the answer of one that is busy, for where the others are so too
        try:
            # With an answer to spare, only one of which a better one can be expected.
            while (replica := choose(tried, worst=UNHEALTHY if spare is None else BUSY)) is not None:
                tried.append(replica)
                probe = replica.admit()
                try:
                    response = await self._engine.send(replica.origin, request, self.timeouts)
                except UpstreamError as error:
                    replica.failed(probe=probe)
                    failure = error
                except BaseException:
                    replica.abandoned(probe=probe)
                    raise
                else:
                    lease = Lease(replica, response)
                    if response.status < 400:
                        replica.answers(self.name)
                        return lease
                    refused = self._judged(lease, replica, probe=probe)
                    if refused is None:
                        if response.status not in self._retry_statuses or not _repeatable(request):
                            return lease
                        if spare is not None:
                            spare.close()
                        spare = lease
                        continue
                    failure = refused
                logger.warning("upstream %s: %s", self.name, failure)
                if not _may_go_on(failure, request) or (exchange is not None and exchange.client_left):
                    break
            if spare is not None and not (failure is not None and failure.sent):
                lease, spare = spare, None
                return lease
        finally:
            if spare is not None:
                spare.close()
        raise self._refusal(failure, tried) from failure

    def _chooser(self, request: UpstreamRequest, exchange: Exchange | None) -> Choose:
        if self._balance is None or exchange is None or exchange.model_request is None:
            return self._selection.choose
        return self._balance.chooser(request, exchange, self._selection)

    async def complete(
        self,
        exchange: Exchange,
        receive: Receive,
        path: str,
        body: Mapping[str, Any],
        *,
        endpoint: Endpoint = Endpoint.CHAT,
        largest: int = MAX_ANSWER_BYTES,
    ) -> Completion:
        """The whole answer, of whatever status, to `body`, a JSON object posted to `path`, metered.

        What it has used is in `exchange.reading` as well, also where it breaks off. The upstream is no longer
        asked when the client leaves, which `receive` tells once the request's body has been read; then
        `ClientGone` is raised. Raises `UpstreamFailed` as `send` does, where the answer breaks off, and for one
        over `largest` bytes.
        """
        done = await complete(
            self, exchange, receive, path, body, dialect=self.dialect, endpoint=endpoint, largest=largest
        )
        headers = self.secrets.masked_headers(done.headers)
        return replace(done, headers=headers, body=self.secrets.masked(done.body))

    def _judged(self, lease: Lease, replica: Replica, *, probe: bool) -> KeyRefused | None:
        """What an error says of the replica; the lease is closed for one that is not about the caller."""
        status = lease.response.status
        if status in replica.breaker.settings.statuses:
            replica.breaker.failed(probe=probe)
        else:
            replica.breaker.succeeded()
        if status in self._retry_statuses:
            replica.is_busy(_value(lease.response.headers, b"retry-after"))
        elif status < 500:
            replica.answered = True
        if not self.refuses_own_key(replica, status):
            return None
        lease.close()
        return KeyRefused(replica.origin.url, status)

    def refuses_own_key(self, replica: Replica, status: int) -> bool:
        """Whether an answer of this `status` is about the gate's own key: the caller's was never sent there.

        Then it is in the log, too.
        """
        if status == 401:
            replica.refuses_key(self.name, "status 401")
        elif status == 403 and self.credential is not None:  # it may be this request alone
            replica.complain(self.name, "refuses a request with the gate's own key (status 403)")
        else:
            return False
        return True

    def key_refusal(self, status: int) -> UpstreamFailed:
        """What the caller is told then."""
        what = f'The upstream "{self.name}" refused the key of the gate itself, not yours (status {status}).'
        return UpstreamFailed(f"{what} The gate's operator can mend it.", code="upstream_unauthorized")

    def _refusal(self, failure: Failure | None, tried: Collection[Replica]) -> UpstreamFailed:
        if isinstance(failure, KeyRefused):
            return self.key_refusal(failure.status)
        gone = failure is not None and not failure.sent and not any(replica.healthy for replica in tried)
        if failure is None or gone:
            wait = min((r.breaker.wait() for r in self.replicas if r.healthy), default=self._breaker.open_for)
            retry_after = b"%d" % max(1, math.ceil(wait))
            message = f'The upstream "{self.name}" is not available now.'
            return UpstreamFailed(message, status=503, headers=[(b"retry-after", retry_after)])
        if isinstance(failure, TOO_SLOW):
            return UpstreamFailed(f'The upstream "{self.name}" did not answer in time.', status=504)
        return UpstreamFailed(f'The upstream "{self.name}" could not be reached or broke off.')


def _may_go_on(failure: Failure, request: UpstreamRequest) -> bool:
    """Whether another replica may be tried."""
    return not failure.sent and (_repeatable(request) or not isinstance(failure, KeyRefused))


def _repeatable(request: UpstreamRequest) -> bool:
    """Whether its body is still there once it was sent."""
    return isinstance(request.body, bytes)


def _value(headers: Iterable[Header], name: bytes) -> bytes | None:
    return next((value.strip() for found, value in headers if found == name), None)
