"""Which replica a request goes to: the least busy one of those that most probably answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .replica import Replica

GOOD, BUSY, KEY_REFUSED, UNHEALTHY = range(4)
"""Tiers: a replica of one is asked only where none of those before it is left."""
FULL = 4
"""What is added to the tier of one that has as much as it may have."""
_TIER = 1 << 32
"""More than the requests that a replica has in flight."""


class LeastBusy:
    """Chooses the available replica with the fewest requests in flight; equals take turns.

    A replica that said it is busy comes after those that did not. One that health checks have taken out is
    asked where no other is left: it may be late with its health because it is busy, and a refusal helps nobody. The
    same holds for one that has `most` requests in flight already.
    """

    def __init__(self, replicas: Sequence[Replica], *, most: int = _TIER) -> None:
        self._replicas = replicas
        self._most = most
        self._turn = 0

    def choose(self, tried: Collection[Replica] = (), *, worst: int = UNHEALTHY) -> Replica | None:
        """A replica that is not among `tried`, of the tiers up to `worst`; None if there is none."""
        replicas = self._replicas
        if len(replicas) == 1 and worst == UNHEALTHY:  # whatever is known of it, no other is better
            only = replicas[0]
            return only if only not in tried and (only.breaker.at_rest or only.breaker.ready()) else None
        self._turn = first = (self._turn + 1) % len(replicas)
        chosen, least = None, self._limit(worst)
        for index in range(first - len(replicas), first):  # from `first` around to the one before it
            replica = replicas[index]
            if replica.breaker.ready() and replica not in tried:
                rank = self._rank(replica) * _TIER + replica.in_flight
                if rank < least:
                    chosen, least = replica, rank
        return chosen

    def best(self, tried: Collection[Replica] = (), *, worst: int = UNHEALTHY) -> list[Replica]:
        """All of the best tier that `choose` would take one from, in their order."""
        ranked = [
            (self._rank(replica), replica)
            for replica in self._replicas
            if replica.breaker.ready() and replica not in tried
        ]
        least = min((rank for rank, _ in ranked), default=0)
        return [replica for rank, replica in ranked if rank == least and rank * _TIER < self._limit(worst)]

    def _rank(self, replica: Replica) -> int:
        return tier(replica) + (FULL if replica.in_flight >= self._most else 0)

    @staticmethod
    def _limit(worst: int) -> int:
        return (worst + 1 + (FULL if worst == UNHEALTHY else 0)) * _TIER


def tier(replica: Replica) -> int:
    """How probable it is that `replica` answers, as one of the tiers."""
    if not replica.healthy:
        return UNHEALTHY
    if replica.key_refused:
        return KEY_REFUSED
    return BUSY if replica.busy else GOOD
