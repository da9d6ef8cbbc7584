"""How much, how fast: requests and tokens per window and requests at once, with the `limits` library."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from limits import RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from ..errors import Header, RateLimited, Refusal, Unavailable, answer
from ..exchange import Exchange, exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from limits.aio.storage import Storage
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Per = Literal["key", "user", "organisation", "ip", "route", "gate"]
What = Literal["requests", "tokens", "concurrent"]
WHAT: tuple[What, ...] = ("requests", "tokens", "concurrent")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of `what` for each `per`, in every `window` seconds (unless it counts concurrency).

    Requests of a window are counted before they run. Tokens are counted when they are known: a window is
    closed once its tokens are used up, by requests that were let in before.
    """

    per: Per
    what: What
    amount: int
    window: int = 60
    moving: bool = False


class Slots(Protocol):
    """Counts what runs at once."""

    async def acquire(self, name: str, amount: int) -> bool:
        """Take one of `amount` slots; False if all are taken."""

    async def release(self, name: str) -> None:
        """Give one back."""


class LocalSlots:
    """Slots of one process."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    async def acquire(self, name: str, amount: int) -> bool:
        """See `Slots`."""
        if self._taken[name] >= amount:
            return False
        self._taken[name] += 1
        return True

    async def release(self, name: str) -> None:
        """See `Slots`."""
        if self._taken[name] > 1:
            self._taken[name] -= 1
        else:
            del self._taken[name]


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where one limit stands for one request; `reset` is in seconds since the epoch."""

    limit: Limit
    remaining: int
    reset: float


class RateLimit:
    """Refuses what comes too fast with 429 and Retry-After, and tells on every answer where the tightest
    limit stands: `X-RateLimit-Limit`, `-Remaining`, and `-Reset` (seconds since the epoch).

    Limits per key, user or organisation pass over requests that have none; `per = "ip"` counts the peer's
    address as the server reports it. `name` keeps the counters of two layers apart. While the storage does
    not answer, requests are refused, unless `fail_open`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Sequence[Limit],
        storage: Storage,
        slots: Slots | None = None,
        name: str = "",
        fail_open: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self._fixed = FixedWindowRateLimiter(storage)
        self._moving = MovingWindowRateLimiter(storage) if any(limit.moving for limit in limits) else None
        self._slots = slots or LocalSlots()
        self._name = name
        self._fail_open = fail_open
        self._errors: tuple[type[Exception], ...] = _kinds(storage)
        self._clock = clock
        self._concurrent = [limit for limit in limits if limit.what == "concurrent"]
        self._windows = [
            (
                limit,
                RateLimitItemPerSecond(
                    limit.amount, limit.window, namespace=f"{name}:{limit.what}:{limit.per}"
                ),
            )
            for limit in limits
            if limit.what != "concurrent"
        ]
        self._tokens = [pair for pair in self._windows if pair[0].what == "tokens"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        taken: list[str] = []
        try:
            tightest = await self._admit(scope, exchange, taken)
        except Refusal as refusal:
            await self._release(taken)
            await answer(scope, send, refusal)
            return
        shown = _headers(tightest) if tightest is not None else []

        async def limited(message: Message) -> None:
            if shown and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *shown]}
            await send(message)

        try:
            await self.app(scope, receive, limited)
        finally:
            await self._release(taken)
            await self._count_tokens(scope, exchange)

    async def _admit(self, scope: Scope, exchange: Exchange, taken: list[str]) -> _Stand | None:
        tightest: _Stand | None = None
        try:
            for limit, item in self._windows:
                who = _who(limit.per, scope, exchange)
                if who is None:
                    continue
                strategy = self._moving if limit.moving and self._moving else self._fixed
                counted = limit.what == "requests"
                good = await (strategy.hit(item, who) if counted else strategy.test(item, who))
                stats = await strategy.get_window_stats(item, who)
                stand = _Stand(limit, stats.remaining, stats.reset_time)
                if not good:
                    raise self._too_fast(stand)
                if tightest is None or stand.remaining < tightest.remaining:
                    tightest = stand
            await self._take_slots(scope, exchange, taken)
        except self._errors as error:
            if not self._fail_open:
                raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error
        return tightest

    async def _take_slots(self, scope: Scope, exchange: Exchange, taken: list[str]) -> None:
        for limit in self._concurrent:
            who = _who(limit.per, scope, exchange)
            if who is not None:
                name = f"{self._name}:{limit.per}:{who}"
                if not await self._slots.acquire(name, limit.amount):
                    raise RateLimited(
                        f"Too many requests at once: this {limit.per} may run {limit.amount}.", retry_after=1
                    )
                taken.append(name)

    def _too_fast(self, stand: _Stand) -> RateLimited:
        limit = stand.limit
        wait = max(1, math.ceil(stand.reset - self._clock()))
        return RateLimited(
            f"Rate limit reached: {limit.amount} {limit.what} in {limit.window} s for this {limit.per}. "
            f"Try again in {wait} s.",
            retry_after=wait,
            headers=_headers(stand),
        )

    async def _release(self, taken: list[str]) -> None:
        for name in taken:
            await self._slots.release(name)

    async def _count_tokens(self, scope: Scope, exchange: Exchange) -> None:
        if exchange.reading is None or not (tokens := exchange.reading.usage.total):
            return
        for limit, item in self._tokens:
            who = _who(limit.per, scope, exchange)
            if who is not None:
                await self._fixed.storage.incr(item.key_for(who), item.get_expiry(), amount=tokens)


def _who(per: Per, scope: Scope, exchange: Exchange) -> str | None:
    principal = exchange.principal
    match per:
        case "key":
            number = principal.key_id if principal else None
        case "user":
            number = principal.user_id if principal else None
        case "organisation":
            number = principal.organisation_id if principal else None
        case "ip":
            client = scope.get("client")
            return client[0] if client else "-"
        case "route":
            return exchange.route
        case "gate":
            return "-"
    return None if number is None else str(number)


def _headers(stand: _Stand) -> list[Header]:
    return [
        (b"x-ratelimit-limit", b"%d" % stand.limit.amount),
        (b"x-ratelimit-remaining", b"%d" % max(0, stand.remaining)),
        (b"x-ratelimit-reset", b"%d" % math.ceil(stand.reset)),
    ]


def _kinds(storage: Storage) -> tuple[type[Exception], ...]:
    kinds = storage.base_exceptions
    return kinds if isinstance(kinds, tuple) else (kinds,)
