"""The ledger's requests played against another gate.toml: who would have been refused, and what it would have cost.

Requests come when they came, take as long as they took and use what they used; what a refused one would have used is
not counted. A request whose prompt fits a quota and whose answer does not is counted as shortened: the gate would have
lowered its `max_tokens`. The ledger knows no addresses, so limits per address are not played.

Nothing here does input or output.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..ledger import Allotment, Default, Outcome, Prices, Subject, Unit, UsageRecord
from ..usage.model import Usage

UNPLAYED = "ip"
USED_NOTHING = frozenset({Outcome.FAILED, Outcome.REFUSED})


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit of the other gate.toml. `place` names it there; `routes` empty: every route."""

    place: str
    per: str
    what: str
    amount: int
    seconds: float
    moving: bool = False
    routes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """A quota of the other gate.toml, with its place there."""

    place: str
    default: Default


@dataclass(slots=True)
class Effect:
    """What one limit or quota would have done."""

    place: str
    refused: int = 0
    shortened: int = 0
    first: float | None = None
    last: float | None = None
    subjects: Counter[str] = field(default_factory=Counter)

    def note(self, at: float, subject: str, *, refused: bool) -> None:
        """One request of `subject` was refused, or shortened, at `at` (seconds since the epoch)."""
        self.first = at if self.first is None else self.first
        self.last = at
        self.subjects[subject] += 1
        if refused:
            self.refused += 1
        else:
            self.shortened += 1


@dataclass(frozen=True, slots=True)
class Report:
    """Costs are in millionths of the currency unit. `span` is in seconds, from the first request to the last."""

    requests: int
    refused: int
    span: float
    cost_then: int
    cost_now: int
    effects: Sequence[Effect]


OwnQuota = Callable[[Subject, Allotment], Allotment | None]
"""The quota that a subject has of its own in the store, in place of a default for the same thing; None: none."""


def simulate(
    records: Iterable[UsageRecord],
    *,
    limits: Sequence[Limit],
    quotas: Sequence[Rule],
    prices: Prices,
    own: OwnQuota = lambda *_: None,
) -> Report:
    """Play `records`, which come in any order, all in memory."""
    requests = sorted(records, key=lambda record: record.at - record.duration)
    effects = {
        place: Effect(place) for place in [limit.place for limit in limits] + [rule.place for rule in quotas]
    }
    play = _Play(limits, quotas, effects, own)
    refused = cost_now = 0
    for record in requests:
        if record.outcome in USED_NOTHING:
            continue
        request = priced_by(record, prices)
        if play.admits(request):
            cost_now += request.cost
        else:
            refused += 1
    ends = [record.at for record in requests]
    return Report(
        requests=len(requests),
        refused=refused,
        span=max(ends) - (requests[0].at - requests[0].duration) if requests else 0.0,
        cost_then=sum(record.cost for record in requests),
        cost_now=cost_now,
        effects=list(effects.values()),
    )


@dataclass(frozen=True, slots=True)
class _Request:
    record: UsageRecord
    cost: int

    @property
    def began(self) -> float:
        return self.record.at - self.record.duration

    @property
    def tokens(self) -> int:
        return self.record.input_tokens + self.record.output_tokens

    def used(self, unit: Unit) -> int:
        return {Unit.TOKENS: self.tokens, Unit.REQUESTS: 1, Unit.MONEY: self.cost}[unit]

    def subjects(self) -> Iterator[Subject]:
        for kind in ("user", "key", "organization"):
            ident = getattr(self.record, f"{kind}_id")
            if ident is not None:
                yield Subject(kind, ident)

    def who(self, per: str) -> str | None:
        if per == "gate":
            return "gate"
        if per == "route":
            return self.record.route
        if per == "end_user" and self.record.end_user:
            whose = self.record.organization_id or f"user {self.record.user_id}"
            return f"{whose}: {self.record.end_user}"
        ident = getattr(self.record, "user_id" if per == "end_user" else f"{per}_id", None)
        return None if ident is None else f"{per} {ident}"


def priced_by(record: UsageRecord, prices: Prices) -> _Request:
    """The request at the prices of the other gate.toml."""
    usage = Usage(record.input_tokens, record.output_tokens, record.cached_tokens, record.reasoning_tokens)
    return _Request(record, prices.of(record.model).of(usage, record.engine_seconds or 0.0))


Step = Callable[[_Request, bool], object]
"""What is done when a request has ended; the second argument says whether it was served."""


class _Play:
    """What is counted while the requests go by, in the order in which they began."""

    def __init__(
        self, limits: Sequence[Limit], quotas: Sequence[Rule], effects: dict[str, Effect], own: OwnQuota
    ) -> None:
        self._limits = [limit for limit in limits if limit.per != UNPLAYED]
        self._quotas = quotas
        self._effects = effects
        self._own = own
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self._lately: dict[tuple[str, str], deque[float]] = {}
        self._running: Counter[tuple[str, str]] = Counter()
        self._spent: Counter[tuple[str, Subject, float]] = Counter()
        self._ends: list[tuple[float, int, _Request, list[Step]]] = []
        self._number = 0

    def admits(self, request: _Request) -> bool:
        """Whether the gate would have let it in. What it uses is counted then, its tokens per window at its end."""
        self._end_before(request.began)
        at_end: list[Step] = []
        if not (self._limits_admit(request, at_end) and self._quotas_admit(request)):
            for step in at_end:
                step(request, False)
            return False
        for rule, subject, allotment, start in self._applying(request):
            self._spent[rule.place, subject, start] += request.used(allotment.unit)
        self._number += 1
        heapq.heappush(self._ends, (request.record.at, self._number, request, at_end))
        return True

    def _end_before(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, _, request, steps = heapq.heappop(self._ends)
            for step in steps:
                step(request, True)

    def _limits_admit(self, request: _Request, at_end: list[Step]) -> bool:
        for limit in self._limits:
            if limit.routes and request.record.route not in limit.routes:
                continue
            who = request.who(limit.per)
            if who is not None and not self._within(limit, (limit.place, who), request.began, at_end):
                self._effects[limit.place].note(request.began, who, refused=True)
                return False
        return True

    def _quotas_admit(self, request: _Request) -> bool:
        shortened = []
        for rule, subject, allotment, start in self._applying(request):
            left = allotment.limit + allotment.overdraft - self._spent[rule.place, subject, start]
            least = request.record.input_tokens if allotment.unit is Unit.TOKENS else 1
            effect, who = self._effects[rule.place], f"{subject.kind} {subject.id}"
            if left < max(1, least):
                effect.note(request.began, who, refused=True)
                return False
            if request.used(allotment.unit) > left:
                shortened.append((effect, who))
        for effect, who in shortened:
            effect.note(request.began, who, refused=False)
        return True

    def _within(self, limit: Limit, key: tuple[str, str], now: float, at_end: list[Step]) -> bool:
        if limit.what == "concurrent":
            if self._running[key] >= limit.amount:
                return False
            self._running[key] += 1
            at_end.append(lambda *_: self._running.subtract([key]))
            return True
        if limit.moving:
            lately = self._lately.setdefault(key, deque())
            while lately and lately[0] <= now - limit.seconds:
                lately.popleft()
            if len(lately) < limit.amount:
                lately.append(now)
                return True
            return False
        if self._count(key, limit.seconds, now, 0) >= limit.amount:
            return False
        if limit.what == "requests":
            self._count(key, limit.seconds, now, 1)
        else:
            at_end.append(
                lambda request, served: self._count(
                    key, limit.seconds, request.record.at, request.tokens if served else 0
                )
            )
        return True

    def _count(self, key: tuple[str, str], seconds: float, now: float, amount: int) -> int:
        """Add to the window of `key`, a new one if the last is over; returns what is in it."""
        opened, count = self._windows.get(key, (now, 0))
        if now >= opened + seconds:
            opened, count = now, 0
        self._windows[key] = (opened, count + amount)
        return count + amount

    def _applying(self, request: _Request) -> Iterator[tuple[Rule, Subject, Allotment, float]]:
        record = request.record
        subjects = {subject.kind: subject for subject in request.subjects()}
        for rule in self._quotas:
            allotment, subject = rule.default.allotment, subjects.get(rule.default.kind)
            if (
                subject is not None
                and allotment.upstream in ("", record.upstream)
                and allotment.model in ("", record.model)
            ):
                allotment = self._own(subject, allotment) or allotment
                start, _ = allotment.window.bounds(request.began)
                yield rule, subject, allotment, start
