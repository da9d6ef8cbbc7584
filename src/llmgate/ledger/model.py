"""The words of the ledger: who may spend how much of what, in which window, and what one request did."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import msgspec

from ..words import Words

MAX_AMOUNT = 2**62
"""The largest amount of anything: no sum of two of them leaves 64 bits."""

MILLION = 1_000_000
"""Money is counted in whole millionths of the operator's currency, prices are per million tokens."""


class Unit(Words):
    """What a quota counts."""

    TOKENS = "tokens"
    REQUESTS = "requests"
    MONEY = "money"
    """Millionths of the currency unit."""


_PERIOD = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
LONGEST_PERIOD = 100 * 366 * 86_400


class Window(str):
    """When a quota starts over: "none", never; "day" and "month", at midnight UTC; or after a period.

    A period is a number of seconds, minutes, hours or days (`90s`, `24h`, `30d`), counted from the quota's
    anchor, again and again. Written in the largest unit that it is a whole number of: `24h` is `1d`. Raises
    `ValueError` for anything else.
    """

    __slots__ = ()

    NONE: ClassVar[Window]
    DAY: ClassVar[Window]
    MONTH: ClassVar[Window]

    def __new__(cls, text: str) -> Window:
        """The window that is written as `text`."""
        if text in ("none", "day", "month"):
            return super().__new__(cls, text)
        period = _PERIOD.fullmatch(text)
        if period is None:
            raise ValueError(f'"{text}" is no window: write none, day, month, or a period such as 24h or 30d')
        return cls.of(int(period[1]) * _SECONDS[period[2]])

    @classmethod
    def of(cls, seconds: int) -> Window:
        """The period of so many seconds. Raises `ValueError` for none, or for over 100 years."""
        if not 0 < seconds <= LONGEST_PERIOD:
            raise ValueError(f"a period lasts from 1 to {LONGEST_PERIOD} seconds")
        unit, size = next((unit, size) for unit, size in _SECONDS.items() if seconds % size == 0)
        return super().__new__(cls, f"{seconds // size}{unit}")

    @property
    def seconds(self) -> int | None:
        """How long a period is; None for windows of the calendar and for none."""
        period = _PERIOD.fullmatch(self)
        return None if period is None else int(period[1]) * _SECONDS[period[2]]

    def bounds(self, now: float, anchor: float = 0.0) -> tuple[float, float]:
        """Start and end of the window that `now` lies in; the end is exclusive.

        Times are seconds since the epoch; from `anchor` periods are counted, in both directions.
        """
        if self == "none":
            return 0.0, float("inf")
        if (seconds := self.seconds) is not None:
            return _period(now, anchor, seconds)
        today = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self == "day":
            begin, end = today, today + dt.timedelta(days=1)
        else:
            begin = today.replace(day=1)
            end = (begin + dt.timedelta(days=32)).replace(day=1)
        return begin.timestamp(), end.timestamp()


def _period(now: float, anchor: float, seconds: int) -> tuple[float, float]:
    """The period that `now` lies in. Every worker gets the same two numbers, whenever it asks."""
    number = (now - anchor) // seconds
    while now >= anchor + (number + 1) * seconds:  # the difference was rounded down
        number += 1
    while now < anchor + number * seconds:
        number -= 1
    return anchor + number * seconds, anchor + (number + 1) * seconds


Window.NONE, Window.DAY, Window.MONTH = Window("none"), Window("day"), Window("month")


class Subject(NamedTuple):
    """Whom a quota belongs to: `kind` is "user", "key" or "organization", `id` the integer id of its row."""

    kind: str
    id: int


@dataclass(frozen=True, slots=True)
class Allotment:
    """How much of one unit may be spent per window, on one upstream and model or ("") on any of them.

    With `overdraft`, that much more may be spent before requests are refused. `anchor` is when some period of
    the window begins, if it is one; from `expires_at` on nothing is left. Both are seconds since the epoch.
    """

    unit: Unit
    limit: int
    window: Window = Window.NONE
    upstream: str = ""
    model: str = ""
    overdraft: int = 0
    anchor: float = 0.0
    expires_at: float | None = None

    def most(self, now: float) -> int:
        """What may be spent in the window of `now`, overdraft included."""
        if self.expires_at is not None and now >= self.expires_at:
            return 0
        return self.limit + self.overdraft

    def bounds(self, now: float) -> tuple[float, float]:
        """Start and end of the window that `now` lies in."""
        return self.window.bounds(now, self.anchor)

    def valid_until(self, end: float, now: float) -> float:
        """Until when, in the window of `now` that ends at `end`, what `most` says holds."""
        expires = self.expires_at
        return end if expires is None or expires <= now else min(end, expires)


@dataclass(frozen=True, slots=True)
class Default:
    """The allotment of every subject of one kind that has none of its own for the same thing."""

    kind: str
    allotment: Allotment


@dataclass(frozen=True, slots=True)
class Balance:
    """Where one quota of a subject stands: what was spent in this window, and what is left of it."""

    quota_id: int
    subject: Subject
    allotment: Allotment
    used: int
    window_start: float
    window_end: float
    updated_at: float = 0.0
    """When its terms were last changed; 0 while it is what gate.toml gives to everybody."""
    expired: bool = False

    @property
    def remaining(self) -> int:
        """What may still be spent, overdraft left aside; never negative, and nothing once it has expired."""
        return 0 if self.expired else max(0, self.allotment.limit - self.used)


class Outcome(Words):
    """How a request ended."""

    FINISHED = "finished"
    """The whole answer reached the client."""
    ABORTED = "aborted"
    """The client left, or the upstream broke off, in the middle."""
    FAILED = "failed"
    """The upstream answered with an error, or not at all. Costs nothing."""
    REFUSED = "refused"
    """A surface turned it down. Costs nothing."""
    LOST = "lost"
    """The gate's process died under it; charged with what its journal had noted by then (see `journal`)."""


class UsageRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request in the ledger. `at` is when it ended, in seconds since the epoch; durations are seconds.

    A struct, because one is made for every request and a frozen dataclass of this size takes 5 us to make.
    """

    request_id: str
    at: float
    user_id: int | None
    key_id: int | None
    organization_id: int | None
    surface: str
    route: str
    upstream: str
    model: str
    endpoint: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: int
    certainty: str
    outcome: str
    status: int
    duration: float
    first_byte: float | None
    booked: int | None = None
    """Tokens that a surface sells by number, charged in place of those used; None where use is what is paid for."""
    asked_model: str = ""
    """As the caller named it; `model` is the one that answered, or that is charged."""
    engine_seconds: float | None = None
    """As the engine says, else from its asking to the end of its answer; None where no engine was asked."""
    end_user: str = ""
    """Whom a key that acts for others has named."""
    choices: int = 1
    """Answers asked for of each prompt (`n`)."""


class Pledge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a running request will be charged to: a quota, in the window in which it was admitted."""

    quota_id: int
    window_start: float
    unit: str

    def spent(self, record: UsageRecord) -> int:
        """What `record` takes from the quota.

        Nothing if the request failed, or was lost before its answer began. What passed counts in full, even past
        the hold, be it reported by the backend or estimated from the text: it proves that the hold was wrong.
        """
        return amounts_of(record)[self.unit]


_FREE = frozenset({Outcome.FAILED, Outcome.REFUSED})
_NO_AMOUNTS: Mapping[str, int] = MappingProxyType(dict.fromkeys(Unit, 0))


def amounts_of(record: UsageRecord) -> Mapping[str, int]:
    """What `record` takes from a quota, by its unit; see `Pledge.spent`."""
    outcome = record.outcome
    if outcome in _FREE or (outcome == Outcome.LOST and record.status == 0):
        return _NO_AMOUNTS
    tokens = record.input_tokens + record.output_tokens if record.booked is None else record.booked
    return {Unit.TOKENS: tokens, Unit.REQUESTS: 1, Unit.MONEY: record.cost}


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What one request takes from one quota. `holder` is the worker whose lease it was part of."""

    quota_id: int
    window_start: float
    amount: int
    holder: str


class Entry(msgspec.Struct, frozen=True):
    """A usage record and what it costs whom: committed together or not at all."""

    record: UsageRecord
    charges: tuple[Charge, ...] = ()
