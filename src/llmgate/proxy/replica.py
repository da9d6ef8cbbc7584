"""One server of an upstream, and what is known of it: by health checks, by its answers, by its breaker."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from .circuit_breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .circuit_breaker import BreakerSettings, BreakerState
    from .engines.base import Origin

logger = logging.getLogger("llmgate.proxy")

BUSY_FOR_S = 1.0
"""For how long a replica that said it is busy is asked last, without a Retry-After of its own."""
MAX_BUSY_FOR_S = 10.0
"""And with one, at the most: what it says holds for callers, and it may have room long before."""
COMPLAIN_EVERY_S = 60.0
"""Seconds between two log lines that say the same of a replica."""


class Replica:
    """One server of an upstream. `healthy` is what active health checks last found.

    `late`: the check that took it out was too late, not refused or bad. `answered`: it has answered a request
    since. `key_refused`: it takes the gate's own key for a wrong one. `streak` is of health checks: above zero
    good ones in a row, below zero failed ones; `checked_by` is whoever does the checks.
    """

    __slots__ = (
        "__weakref__",
        "_busy_until",
        "_clock",
        "_complained_at",
        "answered",
        "breaker",
        "checked_by",
        "healthy",
        "in_flight",
        "key_refused",
        "late",
        "origin",
        "streak",
    )

    def __init__(
        self, origin: Origin, breaker: BreakerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.origin = origin
        self.breaker = Breaker(breaker, clock)
        self.healthy = True
        self.late = False
        self.answered = False
        self.key_refused = False
        self.in_flight = 0
        self.streak = 0
        self.checked_by: object | None = None
        self._clock = clock
        self._busy_until = 0.0
        self._complained_at = -COMPLAIN_EVERY_S

    @property
    def busy(self) -> bool:
        """Whether it has said just now that it has too much to do."""
        return self._busy_until > 0 and self._clock() < self._busy_until

    @property
    def serves(self) -> bool:
        """Whether requests to it may be answered, as far as is known: then the gate is ready."""
        alive = self.healthy or self.late or self.answered
        return alive and not self.key_refused and self.breaker.state != "open"

    def admit(self) -> bool:
        """A request goes to it; `failed`, `abandoned`, or its answer ends that. See `Breaker.admit`."""
        self.in_flight += 1
        breaker = self.breaker
        return not breaker.at_rest and breaker.admit()

    def failed(self, *, probe: bool) -> None:
        """It has not answered."""
        self.in_flight -= 1
        self.breaker.failed(probe=probe)

    def abandoned(self, *, probe: bool) -> None:
        """The request was given up before it has."""
        self.in_flight -= 1
        self.breaker.abandoned(probe=probe)

    def answers(self, upstream: str) -> None:
        """It has, and well; the request is still in flight."""
        if not self.breaker.at_rest:
            self.breaker.succeeded()
        self.answered = True
        if self.key_refused:
            self.takes_key(upstream)

    def is_busy(self, retry_after: bytes | None) -> None:
        """It said that it is busy: for as long as it asks for, within bounds, others are asked first."""
        wait = BUSY_FOR_S
        if retry_after is not None and retry_after.isdigit():
            wait = min(max(float(retry_after[:9]), wait), MAX_BUSY_FOR_S)
        self._busy_until = self._clock() + wait

    def take_out(self, *, late: bool) -> None:
        """Health checks have failed too often: it is asked only where no other is left."""
        self.healthy, self.late, self.answered = False, late, False

    def bring_back(self) -> None:
        """Health checks are good again, or none are made any more."""
        self.healthy, self.late, self.answered = True, False, False

    def refuses_key(self, upstream: str, found: str) -> None:
        """It has refused the gate's own key, or asks for one: said in the log now and then while it lasts."""
        self.key_refused = True
        self.complain(upstream, f"refuses the gate's own key ({found}): correct its api_key")

    def takes_key(self, upstream: str) -> None:
        """It has taken the gate's own key."""
        if self.key_refused:
            self.key_refused = False
            self._complained_at = -COMPLAIN_EVERY_S
            logger.info("upstream %s: %s takes the gate's own key again", upstream, self.origin.url)

    def complain(self, upstream: str, what: str) -> None:
        """Log an error about it, unless one was logged within `COMPLAIN_EVERY_S`."""
        now = self._clock()
        if now >= self._complained_at + COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.error("upstream %s: %s %s", upstream, self.origin.url, what)


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """A replica as metrics and readiness show it; see `Replica`."""

    url: str
    healthy: bool
    breaker: BreakerState
    in_flight: int
    serves: bool = True
    key_refused: bool = False

    @classmethod
    def of(cls, replica: Replica) -> ReplicaState:
        """As it stands now."""
        return cls(
            replica.origin.url,
            replica.healthy,
            replica.breaker.state,
            replica.in_flight,
            replica.serves,
            replica.key_refused,
        )


class Replicas:
    """The replicas of a process, by upstream and URL: what is known of one outlives the upstream's settings.

    So a reload of gate.toml forgets nothing. A replica is forgotten once no upstream has it any more.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], Replica] = WeakValueDictionary()

    def get(
        self, upstream: str, origin: Origin, breaker: BreakerSettings, clock: Callable[[], float]
    ) -> Replica:
        """The replica of `upstream` at `origin`: the one that is known, or a new one."""
        replica = self._known.get((upstream, origin.url))
        if replica is None:
            replica = self._known[upstream, origin.url] = Replica(origin, breaker, clock)
        return replica
