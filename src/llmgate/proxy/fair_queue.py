"""Who is next when an engine has no place left: the highest priority class, and in it the tenants by their weights.

Start-time fair queueing (Goyal, Vin and Cheng, 1996): each request gets a place in virtual time, where its tenant's
last one ended or, for a tenant that has not been here lately, now; the earliest is next. So tenants share the work by
weight, as by deficit round robin, and one that asks now and then waits for the request that runs and not for a round of
others. A tenant that floods the queue delays itself alone. Nor does it keep others out: where the queue is full, the
latest of the longest line gives way (McKenney, 1990).

Nothing here does input or output; `admission` waits with it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

USUAL_COST = 1000
MIN_COST = 1
MIN_WEIGHT = 0.001


class QueueFull(Exception):
    """As many wait as may."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[T]):
    """One that waits. `cost` is the work that it asks of the engine, in tokens."""

    item: T
    tenant: str
    weight: float
    priority: int
    cost: int
    queued: bool = True


@dataclass(slots=True)
class _Tenant(Generic[T]):
    """One line. `start` is where its first one begins in virtual time."""

    weight: float
    start: float
    tickets: deque[Ticket[T]] = field(default_factory=deque)


class _Class(Generic[T]):
    """The tenants of one priority class. `_ends`: where the last request of each ended that is not in the past."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant[T]] = {}
        self._ends: dict[str, float] = {}
        self._now = 0.0

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def longest(self) -> tuple[float, Ticket[T]]:
        """The longest line for its weight, and the latest in it."""
        line = max(self._tenants.values(), key=lambda tenant: len(tenant.tickets) / tenant.weight)
        return len(line.tickets) / line.weight, line.tickets[-1]

    def waiting(self, tenant: str | None = None) -> int:
        """How many wait, in all or of one tenant."""
        if tenant is None:
            return sum(len(each.tickets) for each in self._tenants.values())
        return len(self._tenants[tenant].tickets) if tenant in self._tenants else 0

    def weights(self, *, but: str) -> float:
        """The weights of all who wait, but one, together."""
        return sum(each.weight for name, each in self._tenants.items() if name != but)

    def push(self, ticket: Ticket[T]) -> None:
        tenant = self._tenants.get(ticket.tenant)
        if tenant is None:
            start = max(self._now, self._ends.get(ticket.tenant, 0.0))
            tenant = self._tenants[ticket.tenant] = _Tenant(ticket.weight, start)
        tenant.weight = ticket.weight
        tenant.tickets.append(ticket)

    def pop(self) -> Ticket[T]:
        """The next one; of two that begin together, the one whose line is shorter, then older."""
        name, tenant = min(self._tenants.items(), key=lambda item: (item[1].start, len(item[1].tickets)))
        ticket = tenant.tickets.popleft()
        self._now = tenant.start
        tenant.start += ticket.cost / tenant.weight
        self._ends = {each: end for each, end in self._ends.items() if end > self._now}
        self._ends[name] = tenant.start
        if not tenant.tickets:
            del self._tenants[name]
        return ticket

    def remove(self, ticket: Ticket[T]) -> None:
        tenant = self._tenants[ticket.tenant]
        tenant.tickets.remove(ticket)
        if not tenant.tickets:
            del self._tenants[ticket.tenant]


class FairQueue(Generic[T]):
    """A bounded queue that is fair between tenants. Higher `priority` goes first, strictly.

    `max_waiting` bounds all classes together.
    """

    def __init__(self, *, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._classes: dict[int, _Class[T]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    @property
    def max_waiting(self) -> int:
        """How many may wait. Where that is less than before, nobody who waits already has to go."""
        return self._max_waiting

    @max_waiting.setter
    def max_waiting(self, number: int) -> None:
        self._max_waiting = number

    def lengths(self) -> dict[int, int]:
        """How many wait, by class."""
        return {priority: members.waiting() for priority, members in self._classes.items()}

    def ahead(self, tenant: str, *, weight: float = 1.0, priority: int = 0) -> int:
        """About how many are served before the next one of `tenant`, itself included.

        All of higher classes, and of its own as many as its share lets pass, at the most all of them.
        """
        higher = sum(each.waiting() for level, each in self._classes.items() if level > priority)
        members = self._classes.get(priority)
        if members is None:
            return higher + 1
        weight = max(weight, MIN_WEIGHT)
        share = (members.waiting(tenant) + 1) * (members.weights(but=tenant) + weight) / weight
        return higher + min(members.waiting() + 1, math.ceil(share))

    def displace(self, tenant: str, *, weight: float = 1.0, priority: int = 0) -> Ticket[T] | None:
        """Make room in a full queue for `tenant`: take out and return the latest of the longest line.

        That is one of the lowest class; of its own class only where that line is longer, by their weights, than the
        tenant's would be. None: there is nobody who would have to give way.
        """
        if not self._waiting or (lowest := min(self._classes)) > priority:
            return None
        length, latest = self._classes[lowest].longest()
        own = (self._classes[lowest].waiting(tenant) + 1) / max(weight, MIN_WEIGHT)
        if lowest == priority and length <= own:
            return None
        self.discard(latest)
        return latest

    def push(
        self, item: T, *, tenant: str, weight: float = 1.0, priority: int = 0, cost: int = USUAL_COST
    ) -> Ticket[T]:
        """Put `item` into the queue. Raises `QueueFull`."""
        if self._waiting >= self._max_waiting:
            raise QueueFull
        ticket = Ticket(item, tenant, max(weight, MIN_WEIGHT), priority, max(cost, MIN_COST))
        members = self._classes.get(priority)
        if members is None:
            members = self._classes[priority] = _Class()
        members.push(ticket)
        self._waiting += 1
        return ticket

    def pop(self) -> Ticket[T] | None:
        """Take the next one out; None if nobody waits."""
        if not self._waiting:
            return None
        ticket = self._classes[max(self._classes)].pop()
        self._left(ticket)
        return ticket

    def discard(self, ticket: Ticket[T]) -> None:
        """Take out one that does not wait any longer, if it still does."""
        if ticket.queued:
            self._classes[ticket.priority].remove(ticket)
            self._left(ticket)

    def _left(self, ticket: Ticket[T]) -> None:
        ticket.queued = False
        self._waiting -= 1
        if not self._classes[ticket.priority]:
            del self._classes[ticket.priority]
