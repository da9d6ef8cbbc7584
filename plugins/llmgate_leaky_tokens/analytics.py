"""Who consumed how much, from the ledger's records of this surface.

An event is a consumption that was allowed, or denied for its rate or quota. (One whose provider failed is
neither: it was given back.) Every sum of tokens is of allowed events. All queries read the index
`ix_usage_surface` alone, from the end of the time that they are about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from msgspec import Meta, Struct

from llmgate.plugin.api import usage_table, users_table
from llmgate.plugin.kit.formats import rfc3339

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Store

    from .quotas import ProviderQuotas

Minutes = Annotated[int, Meta(ge=1, le=525_600)]
Limit = Annotated[int, Meta(ge=1, le=200)]


class UsageQuery(Struct, frozen=True, rename="camel"):
    """Query of `GET /api/v1/analytics/usage`."""

    provider: str
    limit: Limit = 20


class ReportQuery(Struct, frozen=True, rename="camel"):
    """Query of `GET /api/v1/analytics/report`: at most `sampleLimit` events, the latest; `topUsers` of them."""

    provider: str
    window_minutes: Minutes = 60
    sample_limit: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    top_users: Limit = 5


class AnomalyQuery(Struct, frozen=True, rename="camel"):
    """Query of `GET /api/v1/analytics/anomalies`."""

    provider: str
    window_minutes: Minutes = 60
    baseline_windows: Annotated[int, Meta(ge=1, le=100)] = 3
    threshold_multiplier: Annotated[float, Meta(gt=0, le=1e6)] = 2.0


class EventKey(Struct, frozen=True):
    """Which event."""

    provider: str
    timestamp: str


class UsageEvent(Struct, frozen=True, rename="camel"):
    """One consumption: `tokens` is what it asked for."""

    key: EventKey
    user_id: str | None
    tokens: int
    allowed: bool


class RecentUsage(Struct, frozen=True):
    """The latest events, newest first."""

    provider: str
    count: int
    items: list[UsageEvent]


class TopUser(Struct, frozen=True, rename="camel"):
    """One of those who consumed most."""

    user_id: str | None
    total_tokens: int
    events: int


class Report(Struct, frozen=True, rename="camel"):
    """A window's events added up."""

    provider: str
    window_start: str
    window_end: str
    total_events: int
    allowed_events: int
    denied_events: int
    total_tokens: int
    average_tokens: float
    unique_users: int
    top_users: list[TopUser]


class Anomaly(Struct, frozen=True, rename="camel"):
    """Whether the window that ends now has `threshold` times the tokens of the ones before it."""

    provider: str
    current_window_start: str
    current_window_end: str
    current_tokens: int
    baseline_average: float
    ratio: float
    threshold: float
    anomaly: bool


# Written out, not bound: only then does the database see that the partial index has what is asked for.
_OURS = (usage_table.c.surface == sa.literal_column("'leaky_tokens'")) & sa.text("surface <> ''")
_EVENTS = usage_table.c.outcome.in_([sa.literal_column("'finished'"), sa.literal_column("'refused'")])
_ALLOWED = sa.case((usage_table.c.outcome == sa.literal_column("'finished'"), 1), else_=0)
_TOKENS = sa.case((usage_table.c.outcome == sa.literal_column("'finished'"), usage_table.c.booked), else_=0)
_SUMS = ("tokens", "events", "allowed")


class Analytics:
    """The operations under /api/v1/analytics."""

    def __init__(self, store: Store, quotas: ProviderQuotas, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._quotas = quotas
        self._clock = clock

    async def usage(self, call: Call[None, UsageQuery]) -> RecentUsage:
        """The latest events."""
        wanted = call.query
        self._quotas.provider(wanted.provider)
        latest = (
            sa.select(
                usage_table.c.at, usage_table.c.user_id, usage_table.c.booked, _ALLOWED.label("allowed")
            )
            .where(_OURS, _EVENTS, usage_table.c.upstream == wanted.provider)
            .order_by(usage_table.c.at.desc())
            .limit(wanted.limit)
            .subquery()
        )
        rows = await self._rows(
            sa.select(latest, users_table.c.uuid)
            .join_from(latest, users_table, users_table.c.id == latest.c.user_id, isouter=True)
            .order_by(latest.c.at.desc())
        )
        items = [
            UsageEvent(EventKey(wanted.provider, rfc3339(row.at)), row.uuid, row.booked, bool(row.allowed))
            for row in rows
        ]
        return RecentUsage(wanted.provider, len(items), items)

    async def report(self, call: Call[None, ReportQuery]) -> Report:
        """The sums of a window that ends now."""
        wanted = call.query
        self._quotas.provider(wanted.provider)
        now = self._clock()
        since = now - wanted.window_minutes * 60
        events = (
            sa.select(usage_table.c.user_id, _ALLOWED.label("allowed"), _TOKENS.label("tokens"))
            .where(*_between(wanted.provider, since, now))
            .order_by(usage_table.c.at.desc())
            .limit(wanted.sample_limit)
            .subquery()
        )
        by_user = (
            sa.select(
                events.c.user_id,
                sa.func.sum(events.c.tokens).label("tokens"),
                sa.func.count().label("events"),
                sa.func.sum(events.c.allowed).label("allowed"),
            )
            .group_by(events.c.user_id)
            .subquery()
        )
        everybody = sa.over(sa.func.count())
        rows = await self._rows(
            sa.select(by_user, users_table.c.uuid, everybody.label("users"))
            .add_columns(
                *(sa.over(sa.func.sum(by_user.c[name])).label(f"all_{name}") for name in _SUMS),
            )
            .join_from(by_user, users_table, users_table.c.id == by_user.c.user_id, isouter=True)
            .order_by(by_user.c.tokens.desc(), by_user.c.user_id)
            .limit(wanted.top_users)
        )
        tokens, total, allowed = (int(getattr(rows[0], f"all_{name}")) if rows else 0 for name in _SUMS)
        return Report(
            provider=wanted.provider,
            window_start=rfc3339(since),
            window_end=rfc3339(now),
            total_events=total,
            allowed_events=allowed,
            denied_events=total - allowed,
            total_tokens=tokens,
            average_tokens=round(tokens / total, 2) if total else 0.0,
            unique_users=rows[0].users if rows else 0,
            top_users=[TopUser(row.uuid, int(row.tokens), row.events) for row in rows],
        )

    async def anomalies(self, call: Call[None, AnomalyQuery]) -> Anomaly:
        """The window that ends now against the average of those before it."""
        wanted = call.query
        self._quotas.provider(wanted.provider)
        now, window = self._clock(), wanted.window_minutes * 60
        since = now - window
        current = await self._tokens(wanted.provider, since, now)
        before = await self._tokens(wanted.provider, since - window * wanted.baseline_windows, since)
        baseline = before / wanted.baseline_windows
        ratio = current / baseline if baseline else 0.0
        # Where nothing was consumed before, nothing is known to be usual.
        return Anomaly(
            provider=wanted.provider,
            current_window_start=rfc3339(since),
            current_window_end=rfc3339(now),
            current_tokens=current,
            baseline_average=round(baseline, 2),
            ratio=round(ratio, 2),
            threshold=wanted.threshold_multiplier,
            anomaly=ratio >= wanted.threshold_multiplier,
        )

    async def _tokens(self, provider: str, since: float, until: float) -> int:
        query = sa.select(sa.func.coalesce(sa.func.sum(_TOKENS), 0)).where(*_between(provider, since, until))
        return int((await self._rows(query))[0][0])

    async def _rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        await self._store.flush()
        async with self._store.connect() as db:
            return list((await db.execute(query)).all())


def _between(provider: str, since: float, until: float) -> tuple[sa.ColumnElement[bool], ...]:
    """This surface's events of a provider after `since`, up to `until`."""
    return (
        _OURS,
        _EVENTS,
        usage_table.c.upstream == provider,
        usage_table.c.at > since,
        usage_table.c.at <= until,
    )
