"""Who is next when an engine has no place left: the highest priority class, and in it the tenants by their weights.

Deficit round robin (Shreedhar and Varghese, 1995) with weights: every tenant that waits gets, turn by turn, a quantum
of work times its weight, and sends what that pays for. A tenant that floods the queue delays itself: another one's
request waits for at most about one request of each tenant before it, however many those have waiting. Nor does it
keep others out: where the queue is full, the latest of the longest line gives way (McKenney, 1990).

Nothing here does input or output; `admission` waits with it.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

QUANTUM = 1
"""Tokens of work that a tenant of weight 1 gets in each turn. So small that nobody gets ahead by more than the request
it sends; turns in which nobody can send anything are skipped in one step, so that it costs no time either."""
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
    weight: float
    tickets: deque[Ticket[T]] = field(default_factory=deque)
    deficit: float = 0.0


class _Class(Generic[T]):
    """The tenants of one priority class, in the order of their turns."""

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._tenants: OrderedDict[str, _Tenant[T]] = OrderedDict()

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
            tenant = self._tenants[ticket.tenant] = _Tenant(ticket.weight)
        tenant.weight = ticket.weight
        tenant.tickets.append(ticket)

    def pop(self) -> Ticket[T]:
        """The next one. What a large request costs over a tenant's quantum is saved up over rounds, in one step."""
        self._skip_rounds()
        while True:
            name, tenant = next(iter(self._tenants.items()))
            if tenant.tickets[0].cost <= tenant.deficit:
                ticket = tenant.tickets.popleft()
                tenant.deficit -= ticket.cost
                if not tenant.tickets:
                    del self._tenants[name]  # who waits for nothing saves nothing up
                return ticket
            self._tenants.move_to_end(name)
            tenant.deficit += self._quantum * tenant.weight

    def remove(self, ticket: Ticket[T]) -> None:
        tenant = self._tenants[ticket.tenant]
        tenant.tickets.remove(ticket)
        if not tenant.tickets:
            del self._tenants[ticket.tenant]

    def _skip_rounds(self) -> None:
        """Give everybody as many whole rounds as pass before anybody can send: `pop` then ends after one more."""
        tenants = self._tenants.values()
        rounds = min((t.tickets[0].cost - t.deficit) / (self._quantum * t.weight) for t in tenants)
        if rounds > 1:
            for tenant in tenants:
                tenant.deficit += int(rounds) * self._quantum * tenant.weight


class FairQueue(Generic[T]):
    """A bounded queue that is fair between tenants. Higher `priority` goes first, strictly.

    `max_waiting` bounds all classes together; `quantum` is work per turn, in the unit of `cost`.
    """

    def __init__(self, *, max_waiting: int, quantum: int = QUANTUM) -> None:
        self._max_waiting = max_waiting
        self._quantum = quantum
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
            members = self._classes[priority] = _Class(self._quantum)
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
