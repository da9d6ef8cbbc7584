"""Placing holds: lease more where an account is short, ask for a prompt's true length, wait for what is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from ..errors import QuotaExhausted, QuotaHeld, Unavailable
from .accounts import Account, Demand, Hold, place_hold
from .model import Unit

if TYPE_CHECKING:
    from .account_cache import AccountCache
    from .model import Subject

POLL_INTERVAL_S = 0.05
"""How long to wait for what other workers or running requests give back before looking again."""
LEASE_TRIES = 5
RETRY_LEASE_AFTER_S = 1.0
"""For how long nobody is asked again for an account that was looked for everywhere."""
HELD_TRIES = 100
"""Looks at an account that running requests hold all of: 5 seconds."""

CountTokens = Callable[[], Awaitable[int | None]]
"""Asks the backend how long a prompt really is; None where it never can say. Raises `Unavailable` where it cannot
say now."""


class Reservations:
    """Places holds on the accounts of `cache`; `sleep` takes seconds, `timer` tells monotonic ones."""

    def __init__(
        self,
        cache: AccountCache,
        *,
        sleep: Callable[[float], Awaitable[None]],
        timer: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._sleep = sleep
        self._timer = timer

    async def place(
        self,
        subjects: tuple[Subject, ...],
        upstream: str,
        model: str,
        demand: Demand,
        count: CountTokens | None,
    ) -> Hold:
        """Hold `demand`, or less output where less is left.

        Where all that is missing is held by running requests, waits for what they leave. Raises
        `QuotaExhausted`, `QuotaHeld` where they take too long, `Unavailable` where the prompt's bound does not fit
        and its length cannot be told now, and `StoreError`.
        """
        placed = await self._lease(subjects, upstream, model, demand)
        if count is not None and (isinstance(placed, Account) or placed.max_output is not None):
            demand = await _recounted(demand, count, placed)
            placed = await self._lease(subjects, upstream, model, demand)
        tries = 0
        while isinstance(placed, Account):
            if not placed.may_fit(demand):
                raise exhausted(placed)
            if tries == HELD_TRIES:
                raise QuotaHeld(
                    f"The rest of the quota of this {placed.subject.kind} is held by requests that are under way."
                )
            tries += 1
            await self._sleep(POLL_INTERVAL_S)
            placed = await self._lease(subjects, upstream, model, demand)
        return placed

    async def _lease(
        self, subjects: tuple[Subject, ...], upstream: str, model: str, demand: Demand
    ) -> Hold | Account:
        """Hold `demand`; where an account falls short, lease more, or wait a moment for what others give back.

        What is short everywhere lowers the hold, or is returned if nothing fits.
        """
        tries = 0
        while True:
            accounts = await self._cache.get(subjects, upstream, model)
            short = place_hold(accounts, demand, lower=False)
            if isinstance(short, Hold):
                return short
            if tries == LEASE_TRIES:
                short.retry_lease_at = self._timer() + RETRY_LEASE_AFTER_S
            if short.fully_leased or self._timer() < short.retry_lease_at:
                return place_hold(accounts, demand)
            if tries:
                await self._sleep(POLL_INTERVAL_S)
            wanted = demand.amount(short.allotment.unit, demand.wanted or demand.choices)
            await self._cache.extend(short, wanted, from_others=tries == 0)
            tries += 1


async def _recounted(demand: Demand, count: CountTokens, bounded: Hold | Account) -> Demand:
    """`demand` with the true length of its prompt, which may leave room, or more of it, for the answer."""
    try:
        counted = await count()
    except Unavailable:
        if isinstance(bounded, Account):
            raise
        counted = None
    finally:
        if isinstance(bounded, Hold):
            bounded.release()
    return demand if counted is None else msgspec.structs.replace(demand, input=min(counted, demand.input))


def exhausted(short: Account) -> QuotaExhausted:
    """The refusal where `short` has too little left."""
    allotment, left = short.allotment, max(0, short.room)
    what = {Unit.TOKENS: "tokens", Unit.REQUESTS: "requests", Unit.MONEY: "millionths of the budget"}[
        allotment.unit
    ]
    window = "" if allotment.window == "none" else f" per {allotment.window}"
    return QuotaExhausted(
        f"The quota of this {short.subject.kind} is used up: {allotment.limit} {what}{window}, "
        f"{left} left, which is not enough for this request.",
        unit=str(allotment.unit),
        used=max(0, allotment.limit - left),
        limit=allotment.limit,
    )
