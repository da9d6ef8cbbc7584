"""The words of the ledger: who may spend how much of what, in which window, and what one request did."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from ..usage.model import Certainty

MOST = 2**62
"""The largest amount of anything: no sum of two of them leaves 64 bits."""

MILLION = 1_000_000
"""Money is counted in whole millionths of the operator's currency, prices are per million tokens."""


class Unit(StrEnum):
    """What a quota counts."""

    __hash__ = str.__hash__  # that of other strings, which enums do not have

    TOKENS = "tokens"
    REQUESTS = "requests"
    MONEY = "money"
    """Millionths of the currency unit."""


class Window(StrEnum):
    """When a quota starts over: never, at midnight UTC, or at midnight UTC on the first of the month."""

    NONE = "none"
    DAY = "day"
    MONTH = "month"

    def bounds(self, now: float) -> tuple[float, float]:
        """Start and end of the window that `now` (seconds since the epoch) lies in; the end is exclusive."""
        if self is Window.NONE:
            return 0.0, float("inf")
        today = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Window.DAY:
            start, end = today, today + dt.timedelta(days=1)
        else:
            start = today.replace(day=1)
            end = (start + dt.timedelta(days=32)).replace(day=1)
        return start.timestamp(), end.timestamp()


class Subject(NamedTuple):
    """Whom a quota belongs to: `kind` is "user", "key" or "organization", `id` the integer id of its row."""

    kind: str
    id: int


@dataclass(frozen=True, slots=True)
class Allotment:
    """How much of one unit may be spent per window, on one upstream and model or ("") on any of them.

    With `overdraft`, that much more may be spent before requests are refused.
    """

    unit: Unit
    limit: int
    window: Window = Window.NONE
    upstream: str = ""
    model: str = ""
    overdraft: int = 0


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

    @property
    def remaining(self) -> int:
        """What may still be spent, overdraft left aside; never negative."""
        return max(0, self.allotment.limit - self.used)


class Outcome(StrEnum):
    """How a request ended."""

    __hash__ = str.__hash__  # that of other strings, which enums do not have

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


class Pledge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a running request holds of one quota, in the window in which it was admitted."""

    quota_id: int
    window_start: float
    unit: str
    amount: int

    def spent(self, record: UsageRecord) -> int:
        """What `record` takes from the quota.

        Nothing if the request failed, or was lost before its answer began. What the backend reported counts
        in full, even past the hold; a guess never counts for more than was held.
        """
        if record.outcome in _FREE:
            return 0
        if record.outcome == Outcome.LOST and record.status == 0:
            return 0
        match self.unit:
            case Unit.TOKENS:
                spent = record.input_tokens + record.output_tokens if record.booked is None else record.booked
            case Unit.REQUESTS:
                return 1
            case _:
                spent = record.cost
        return min(spent, self.amount) if record.certainty == Certainty.ESTIMATED else spent


_FREE = frozenset({Outcome.FAILED, Outcome.REFUSED})


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
