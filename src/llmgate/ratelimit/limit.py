"""A limit of requests, tokens or requests at once, and the window in which it is counted for each caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from ..errors import StoreError
from . import headers
from .headers import Standing
from .strategies import (
    FixedWindow,
    MovingWindow,
    Step,
    Window,
    WindowItem,
    WindowsAtHand,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from limits.aio.storage import Storage

    from .strategies import Slots, Windows, WindowsTogether

Per = Literal["key", "user", "organization", "end_user", "ip", "route", "gate"]
What = Literal["requests", "tokens", "concurrent"]
WHAT: tuple[What, ...] = ("requests", "tokens", "concurrent")
KEPT_STEPS = 4096
"""Callers for whom a limit keeps what it asks its window."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of `what` for each `per`, in every `window` seconds (unless it counts concurrency).

    Requests of a window are counted before they run. Tokens are counted when they are known: a window is
    closed once its tokens are used up, by requests that were let in before. A `moving` window is the last
    `window` seconds at any moment; only requests can be counted in one. Limits that are otherwise alike are
    counted apart where `name` differs.
    """

    per: Per
    what: What
    amount: int
    window: int = 60
    moving: bool = False
    name: str = ""
    exempt: frozenset[int] = frozenset()
    """Ids of keys that it does not hold for: what a monitor or a test of conformance uses."""


class Stand(msgspec.Struct, frozen=True):
    """Where one limit stands for one request; there is room again in `left` seconds."""

    limit: Limit
    good: bool
    remaining: int
    left: float

    @classmethod
    def of(cls, limit: Limit, window: Window, *, good: bool) -> Stand:
        """Where `limit` stands by its `window`."""
        return cls(limit, good, max(0, limit.amount - window.used), window.left)

    def standing(self) -> Standing:
        """The same as answers tell it."""
        return Standing(self.limit.what, self.limit.amount, self.remaining, self.left)

    def told(self, now: float) -> dict[bytes, bytes]:
        """The headers of an answer where this one is the tightest of all."""
        limit = self.limit
        return headers.told(limit.what, limit.amount, self.remaining, self.left, now)


def told(stands: Sequence[Stand], now: float) -> dict[bytes, bytes]:
    """What an answer is told of the limits that its request has passed.

    Of those of requests and those of tokens each the one that leaves least, and the lesser of both as the tightest.
    """
    if len(stands) == 1:
        return stands[0].told(now)
    requests = tokens = None
    for stand in stands:
        if stand.limit.what == "tokens":
            if tokens is None or stand.remaining < tokens.remaining:
                tokens = stand
        elif requests is None or stand.remaining < requests.remaining:
            requests = stand
    if requests is None or tokens is None:
        only = requests or tokens
        return {} if only is None else only.told(now)
    least, other = (requests, tokens) if requests.remaining <= tokens.remaining else (tokens, requests)
    return least.told(now) | dict(other.standing().pair())


class RequestWindow:
    """A fixed window of requests: it opens with the first one."""

    verb: Literal["count", "peek", "enter"] = "count"

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        self.limit = limit
        self._steps: dict[str | int, Step] = {}
        self._item = WindowItem(limit.amount, limit.window, limit.name, limit.what, limit.per)
        self._fixed = FixedWindow(windows)

    async def enter(self, who: str | int) -> Stand:
        """Count one request of `who`."""
        window = await self._fixed.count(self._item, who)
        return Stand.of(self.limit, window, good=window.used <= self.limit.amount)

    def enter_at_hand(self, windows: WindowsAtHand, who: str | int) -> Stand:
        """What `enter` does, without waiting."""
        limit = self.limit
        good, used, left = windows.take(self.step(who))
        return Stand(limit, good, limit.amount - used if used < limit.amount else 0, left)

    def step(self, who: str | int) -> Step:
        """What `enter` does, for who does it together with others."""
        step = self._steps.get(who)
        if step is None:
            if len(self._steps) >= KEPT_STEPS:
                self._steps.clear()
            step = Step(self.verb, self._item.key_for(who), self.limit.amount, self.limit.window)
            self._steps[who] = step
        return step


class TokenWindow(RequestWindow):
    """A fixed window of tokens, which are counted afterwards."""

    verb = "peek"

    async def enter(self, who: str | int) -> Stand:
        """See whether any are left."""
        window = await self._fixed.peek(self._item, who)
        return Stand.of(self.limit, window, good=window.used < self.limit.amount)

    async def count(self, who: str | int, tokens: int) -> None:
        """Count what a request of `who` has used."""
        await self._fixed.count(self._item, who, cost=tokens)

    def spending(self, who: str | int, tokens: int) -> Step:
        """What `count` does, for who does it together with others."""
        return self.step(who)._replace(verb="count", amount=tokens)


class MovingRequestWindow(RequestWindow):
    """The requests of the last seconds, one entry for each."""

    verb = "enter"

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        super().__init__(limit, windows)
        self._moving = MovingWindow(windows)

    async def enter(self, who: str | int) -> Stand:
        """Count one request of `who`, unless that is one too many."""
        good, window = await self._moving.enter(self._item, who)
        return Stand.of(self.limit, window, good=good)


class ConcurrentRequests:
    """So many requests at once: who passes has a slot, until that is released."""

    def __init__(self, limit: Limit, slots: Slots) -> None:
        self.limit = limit
        self._slots = slots

    def slot(self, who: str | int) -> str:
        """The name of the slots of `who`."""
        limit = self.limit
        return f"{limit.name}:{limit.per}:{limit.amount}:{who}"

    async def enter(self, who: str | int) -> Stand:
        """Take a slot if one is free."""
        return Stand(self.limit, await self._slots.acquire(self.slot(who), self.limit.amount), 0, 1.0)

    def step(self, who: str | int) -> Step:
        """What `enter` does, for who does it together with others."""
        return Step("acquire", self.slot(who), self.limit.amount, 0)


Asked = tuple["RequestWindow | ConcurrentRequests", "str | int"]
"""A limit, and the caller for whom it is asked."""


async def enter_all(
    asked: Sequence[Asked], together: WindowsTogether | None, taken: list[str]
) -> list[Stand]:
    """Where each of these limits stands for its caller, up to the first that refuses.

    In one look where `together` has all of them. A request counts on the limits before the one that refuses it, and on
    no other. The slots that it gets are put into `taken`, whatever happens then.
    """
    if together is not None:
        answers = await together.admit([limit.step(who) for limit, who in asked])
        found = [
            Stand.of(limit.limit, stands, good=good)
            for (limit, _), (good, stands) in zip(asked, answers, strict=False)
        ]
        if found and found[-1].good:
            taken += [limit.slot(who) for limit, who in asked if isinstance(limit, ConcurrentRequests)]
        return found
    found = []
    for limit, who in asked:
        found.append(await limit.enter(who))
        if not found[-1].good:
            break
        if isinstance(limit, ConcurrentRequests):
            taken.append(limit.slot(who))
    return found


async def count_tokens(
    spent: Sequence[tuple[TokenWindow, str | int]],
    tokens: int,
    together: WindowsTogether | None,
    failed: Callable[[StoreError], None],
) -> None:
    """Count on these windows what a request has used; `failed` is told where that cannot be."""
    if together is not None:
        together.count_later([window.spending(who, tokens) for window, who in spent], failed)
        return
    try:
        for window, who in spent:
            await window.count(who, tokens)
    except StoreError as error:
        failed(error)


def window_of(limit: Limit, windows: Windows | Storage) -> RequestWindow:
    """The window of `limit`, counted in `windows`. Raises `ValueError` for a limit that cannot be kept."""
    if limit.what == "tokens":
        if limit.moving:
            raise ValueError("tokens cannot be counted in a moving window: their number is known too late")
        return TokenWindow(limit, windows)
    return MovingRequestWindow(limit, windows) if limit.moving else RequestWindow(limit, windows)
