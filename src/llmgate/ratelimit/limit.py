"""A limit of requests, tokens or requests at once, and the window in which it is counted for each caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from .headers import Standing
from .strategies import FixedWindow, MovingWindow, Step, Window, WindowItem, WindowsTogether

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limits.aio.storage import Storage

    from ..errors import Header
    from .strategies import Windows

Per = Literal["key", "user", "organization", "end_user", "ip", "route", "gate"]
What = Literal["requests", "tokens", "concurrent"]
WHAT: tuple[What, ...] = ("requests", "tokens", "concurrent")


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


class Tightest:
    """Of the limits that a request has passed, those that leave least: of requests, and of tokens."""

    __slots__ = ("requests", "tokens")

    def __init__(self) -> None:
        self.requests: Stand | None = None
        self.tokens: Stand | None = None

    def note(self, stand: Stand) -> None:
        """The request has passed one more."""
        if stand.limit.what == "tokens":
            if self.tokens is None or stand.remaining < self.tokens.remaining:
                self.tokens = stand
        elif self.requests is None or stand.remaining < self.requests.remaining:
            self.requests = stand

    def headers(self, now: float) -> list[Header]:
        """What is told of them."""
        standings = [stand.standing() for stand in (self.requests, self.tokens) if stand is not None]
        if not standings:
            return []
        least = standings[0] if len(standings) == 1 else min(standings, key=lambda one: one.remaining)
        told = least.tightest(now)
        for one in standings:
            told += one.pair()
        return told


class RequestWindow:
    """A fixed window of requests: it opens with the first one."""

    verb: Literal["count", "peek", "enter"] = "count"

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        self.limit = limit
        self.together = windows if isinstance(windows, WindowsTogether) else None
        """Where it is counted, if several windows are asked about there in one look."""
        self._item = WindowItem(limit.amount, limit.window, limit.name, limit.what, limit.per)
        self._fixed = FixedWindow(windows)

    async def enter(self, who: str) -> Stand:
        """Count one request of `who`."""
        window = await self._fixed.count(self._item, who)
        return Stand.of(self.limit, window, good=window.used <= self.limit.amount)

    def step(self, who: str) -> Step:
        """What `enter` does, for who does it together with others."""
        return Step(self.verb, self._item.key_for(who), self.limit.amount, self.limit.window)


class TokenWindow(RequestWindow):
    """A fixed window of tokens, which are counted afterwards."""

    verb = "peek"

    async def enter(self, who: str) -> Stand:
        """See whether any are left."""
        window = await self._fixed.peek(self._item, who)
        return Stand.of(self.limit, window, good=window.used < self.limit.amount)

    async def count(self, who: str, tokens: int) -> None:
        """Count what a request of `who` has used."""
        await self._fixed.count(self._item, who, cost=tokens)


class MovingRequestWindow(RequestWindow):
    """The requests of the last seconds, one entry for each."""

    verb = "enter"

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        super().__init__(limit, windows)
        self._moving = MovingWindow(windows)

    async def enter(self, who: str) -> Stand:
        """Count one request of `who`, unless that is one too many."""
        good, window = await self._moving.enter(self._item, who)
        return Stand.of(self.limit, window, good=good)


async def enter_all(asked: Sequence[tuple[RequestWindow, str]]) -> list[Stand]:
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
