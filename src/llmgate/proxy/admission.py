"""Places at an engine: as many requests at once as it does well, and a short, fair queue for the rest.

    await admission.enter(admission.share_of(exchange))   # waits for its turn, or raises `Unavailable`
    ...
    admission.leave()

Whoever leaves the queue, by its client or by its deadline, leaves no trace in it. One admission stands for an upstream
as long as the process runs: a reload changes its settings, and nobody who waits loses the turn.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from ..errors import Unavailable
from ..permissions import NOTHING_SAID
from .fair_queue import FairQueue, Ticket

if TYPE_CHECKING:
    from asyncio import Future

    from ..backends.request import ModelRequest
    from ..exchange import Exchange, Principal

SMOOTHING = 0.2
"""Weight of the newest gap between two ends of requests in the mean that the drain is told from."""
MAX_RETRY_AFTER_S = 120
USUAL_OUTPUT = 512
"""Tokens of an answer that names no bound."""
MAX_OUTPUT = 4_096
"""Tokens that a bound counts for at the most: few answers are as long as they may be."""
BYTES_PER_TOKEN = 4
NOBODY = "-"
"""The tenant of requests without a credential."""

Per = Literal["key", "organization"]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """At most `max_waiting` requests wait, each for at most `timeout` seconds.

    `max_in_flight` is how many each replica is given at once; None: there are no places to wait for. Tenants are keys,
    or `per` organization those of one together. `weights` are gate.toml's, by tenant (`key:17`, `organization:3`,
    `user:5`); others have what their key or organization has.
    """

    max_in_flight: int | None = None
    max_waiting: int = 200
    timeout: float = 30.0
    per: Per = "key"
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Share:
    """How one request waits: whose it is, and how much work, in tokens, it asks for."""

    tenant: str
    weight: float = 1.0
    priority: int = 0
    cost: int = 1


class Observer(Protocol):
    """What is told of the queue, for the metrics."""

    def waited(self, upstream: str, priority: int, seconds: float) -> None:
        """So long a request has waited for its place; 0 where one was free."""

    def turned_away(self, upstream: str, priority: int, reason: str) -> None:
        """It got none: `full`, `timeout`, or `left` by its client."""


class Unobserved:
    """No metrics."""

    def waited(self, upstream: str, priority: int, seconds: float) -> None:
        """See `Observer`."""

    def turned_away(self, upstream: str, priority: int, reason: str) -> None:
        """See `Observer`."""


class Drain:
    """How fast places come free: a moving mean of the seconds between two of them, while somebody waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: float | None = None
        self._gap: float | None = None

    def ended(self, *, waiting: bool) -> None:
        """A request ended; gaps count only between two ends at which somebody waited."""
        now = self._clock()
        if self._last is not None:
            gap = now - self._last
            self._gap = gap if self._gap is None else self._gap + SMOOTHING * (gap - self._gap)
        self._last = now if waiting else None

    def seconds(self, ahead: int) -> int | None:
        """In how many whole seconds so many requests will have got a place; None while that is not known."""
        if self._gap is None:
            return None
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self._gap * ahead)))


class Admission:
    """The places of one upstream. `replicas` tells how many serve now: they come and go."""

    def __init__(
        self,
        name: str,
        replicas: Callable[[], int] = lambda: 1,
        *,
        settings: QueueSettings | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout: Callable[[float], asyncio.Timeout] = asyncio.timeout,
    ) -> None:
        self.name = name
        self.settings = settings or QueueSettings()
        self._replicas = replicas
        self._queue: FairQueue[Future[None]] = FairQueue(max_waiting=self.settings.max_waiting)
        self._observer = observer or Unobserved()
        self._clock = clock
        self._timeout = timeout
        self._drain = Drain(clock)
        self.in_flight = 0

    def change(self, settings: QueueSettings, replicas: Callable[[], int]) -> None:
        """Hold to other settings from now on; those who wait keep their turns, and who fits now is let in."""
        self.settings, self._replicas = settings, replicas
        self._queue.max_waiting = settings.max_waiting
        self.admit()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    def lengths(self) -> dict[int, int]:
        """How many wait, by class."""
        return self._queue.lengths()

    @property
    def has_room(self) -> bool:
        """Whether there is a free place. Where no replica serves, one is still tried: it says what is wrong."""
        most = self.settings.max_in_flight
        return most is None or self.in_flight < most * max(1, self._replicas())

    def share_of(self, exchange: Exchange) -> Share:
        """How a request waits."""
        principal, request = exchange.principal, exchange.model_request
        cost = 1 if request is None else _cost_of(request, exchange.output_limit)
        if principal is None:
            return Share(NOBODY, self.settings.weights.get(NOBODY, 1.0), cost=cost)
        tenant, own = _tenant_of(principal, self.settings.per)
        weight = self.settings.weights.get(tenant, own)
        return Share(tenant, weight, principal.priority, cost)

    async def enter(self, share: Share) -> None:
        """Take a place, at once or in turn; `leave` gives it back. Raises `Unavailable` (503)."""
        if not self._queue and self.has_room:
            self.in_flight += 1
            self._observer.waited(self.name, share.priority, 0.0)
            return
        began, turn = self._clock(), asyncio.get_running_loop().create_future()
        ticket = self._queued(turn, share)
        self.admit()  # places may have come while nobody looked
        try:
            async with self._timeout(self.settings.timeout):
                await turn
        except TimeoutError:
            self._withdraw(ticket, share, "timeout")
            why = f"No place came free within {self.settings.timeout:g} seconds."
            raise self._refusal(why, share) from None
        except Unavailable:
            self._observer.turned_away(self.name, share.priority, "full")
            raise
        except BaseException:
            self._withdraw(ticket, share, "left")
            raise
        self._observer.waited(self.name, share.priority, self._clock() - began)

    def leave(self) -> None:
        """Give a place back: whoever is next gets it."""
        self.in_flight -= 1
        self._drain.ended(waiting=bool(self._queue))
        self.admit()

    def admit(self) -> None:
        """Give the places that are free to those who wait; to be called when replicas have come back as well."""
        while self._queue and self.has_room:
            ticket = self._queue.pop()
            assert ticket is not None
            if not ticket.item.done():  # else its client has just left
                self.in_flight += 1
                ticket.item.set_result(None)

    def _queued(self, turn: Future[None], share: Share) -> Ticket[Future[None]]:
        queue = self._queue
        if len(queue) >= queue.max_waiting:
            displaced = queue.displace(share.tenant, weight=share.weight, priority=share.priority)
            if displaced is None:
                self._observer.turned_away(self.name, share.priority, "full")
                raise self._refusal("Too many requests wait for it.", share)
            if not displaced.item.done():
                late = Share(displaced.tenant, displaced.weight, displaced.priority)
                displaced.item.set_exception(self._refusal("Too many requests of yours wait for it.", late))
        return queue.push(
            turn, tenant=share.tenant, weight=share.weight, priority=share.priority, cost=share.cost
        )

    def _withdraw(self, ticket: Ticket[Future[None]], share: Share, reason: str) -> None:
        """Its client left, or its time was up: it leaves the queue, or hands on the place that it had just got."""
        self._observer.turned_away(self.name, share.priority, reason)
        self._queue.discard(ticket)
        turn = ticket.item
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()

    def _refusal(self, why: str, share: Share) -> Unavailable:
        """Come back when the tenant's share of what the queue lets through has reached it."""
        ahead = self._queue.ahead(share.tenant, weight=share.weight, priority=share.priority)
        seconds = self._drain.seconds(ahead)
        if seconds is None:  # nothing has ended while somebody waited
            seconds = min(MAX_RETRY_AFTER_S, max(1, math.ceil(self.settings.timeout)))
        message = f'The upstream "{self.name}" is busy. {why} Try again in {seconds} s.'
        return Unavailable(message, code="upstream_busy", headers=[(b"retry-after", b"%d" % seconds)])


def _tenant_of(principal: Principal, per: Per) -> tuple[str, float]:
    """Whose share a request takes, and the weight that it has of its own."""
    key, organization = principal.key_may or NOTHING_SAID, principal.organization_may or NOTHING_SAID
    if per == "organization" and principal.organization_id is not None:
        return f"organization:{principal.organization_id}", organization.weight or 1.0
    weight = key.weight or organization.weight or 1.0
    if principal.key_id is not None:
        return f"key:{principal.key_id}", weight
    return f"user:{principal.user_id}", weight


def _cost_of(request: ModelRequest, bound: int | None) -> int:
    """The work that a request asks for, in tokens, as far as it can be told before."""
    most = request.max_output if bound is None else bound
    output = USUAL_OUTPUT if most is None else min(most, MAX_OUTPUT)
    return request.prompt_bound // BYTES_PER_TOKEN + output * request.choices


class Admissions:
    """The admissions of a process, by upstream: who waits goes on waiting while gate.toml is read anew."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._known: dict[str, Admission] = {}

    def get(self, upstream: str, settings: QueueSettings) -> Admission | None:
        """That of `upstream`: the one that is known, or a new one. None where it was never limited."""
        known = self._known.get(upstream)
        if known is None and settings.max_in_flight is not None:
            known = self._known[upstream] = Admission(upstream, settings=settings, observer=self._observer)
        return known
