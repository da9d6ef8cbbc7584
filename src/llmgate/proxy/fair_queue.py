"""Who is next when an engine has no place left: the highest priority class, and in it the tenants by their weights.

Deficit round robin (Shreedhar and Varghese, 1995) with weights: every tenant that waits gets, turn by turn, a quantum
of work times its weight, and sends what that pays for. A tenant that floods the queue delays itself: another one's
request waits for at most about one request of each tenant before it, however many those have waiting.

Nothing here does input or output; `admission` waits with it.
"""

from __future__ import annotations

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

    def push(self, ticket: Ticket[T], weight: float) -> None:
        tenant = self._tenants.get(ticket.tenant)
        if tenant is None:
            tenant = self._tenants[ticket.tenant] = _Tenant(weight)
        tenant.weight = weight
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

    def push(
        self, item: T, *, tenant: str, weight: float = 1.0, priority: int = 0, cost: int = USUAL_COST
    ) -> Ticket[T]:
        """Put `item` into the queue. Raises `QueueFull`."""
        if self._waiting >= self._max_waiting:
            raise QueueFull
        ticket = Ticket(item, tenant, priority, max(cost, MIN_COST))
        members = self._classes.get(priority)
        if members is None:
            members = self._classes[priority] = _Class(self._quantum)
        members.push(ticket, max(weight, MIN_WEIGHT))
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
