"""A limit of requests, tokens or requests at once, and the window in which it is counted for each caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from . import headers
from .headers import Standing
from .strategies import (
    FixedWindow,
    MovingWindow,
    Step,
    Window,
    WindowItem,
    WindowsAtHand,
    WindowsTogether,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limits.aio.storage import Storage

    from .strategies import Windows

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
        self.together = windows if isinstance(windows, WindowsTogether) else None
        """Where it is counted, if several windows are asked about there in one look."""
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


async def enter_all(asked: Sequence[tuple[RequestWindow, str | int]]) -> list[Stand]:
    """Where each of these windows stands for its caller, up to the first that refuses; in one look where that can be.

    A request counts on the limits before the one that refuses it, and on no other.
    """
    if len(asked) > 1 and (together := asked[0][0].together) is not None:
        answers = await together.admit([window.step(who) for window, who in asked])
        return [
            Stand.of(window.limit, stands, good=good)
            for (window, _), (good, stands) in zip(asked, answers, strict=False)
        ]
    found = []
    for window, who in asked:
        found.append(await window.enter(who))
        if not found[-1].good:
            break
    return found


def window_of(limit: Limit, windows: Windows | Storage) -> RequestWindow:
    """The window of `limit`, counted in `windows`. Raises `ValueError` for a limit that cannot be kept."""
    if limit.what == "tokens":
        if limit.moving:
            raise ValueError("tokens cannot be counted in a moving window: their number is known too late")
        return TokenWindow(limit, windows)
    return MovingRequestWindow(limit, windows) if limit.moving else RequestWindow(limit, windows)
