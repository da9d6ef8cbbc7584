"""Which replica a request goes to: the least busy one of those that most probably answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .replica import Replica

GOOD, BUSY, KEY_REFUSED, UNHEALTHY = range(4)
"""Tiers: a replica of one is asked only where none of those before it is left."""
_TIER = 1 << 32
"""More than the requests that a replica has in flight."""


class LeastBusy:
    """Chooses the available replica with the fewest requests in flight; equals take turns.

    A replica that said it is busy comes after those that did not. One that health checks have taken out is
    asked where no other is left: it may be late with its health because it is busy, and a refusal helps nobody.
    """

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._turn = 0

    def choose(self, tried: Collection[Replica] = (), *, worst: int = UNHEALTHY) -> Replica | None:
        """A replica that is not among `tried`, of the tiers up to `worst`; None if there is none."""
        replicas = self._replicas
        self._turn = first = (self._turn + 1) % len(replicas)
        chosen, least = None, (worst + 1) * _TIER
        for index in range(first - len(replicas), first):  # from `first` around to the one before it
            replica = replicas[index]
            if replica.breaker.ready() and replica not in tried:
                rank = tier(replica) * _TIER + replica.in_flight
                if rank < least:
                    chosen, least = replica, rank
        return chosen


def tier(replica: Replica) -> int:
    """How probable it is that `replica` answers, as one of the tiers."""
    if not replica.healthy:
        return UNHEALTHY
    if replica.key_refused:
        return KEY_REFUSED
    return BUSY if replica.busy else GOOD
