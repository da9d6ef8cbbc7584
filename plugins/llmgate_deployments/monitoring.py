"""What was used, from the gate's ledger, in the guide's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import Filter, Outcome
from llmgate.plugin.kit.formats import id_in_path, naive_iso
from llmgate.plugin.kit.pages import Limit

from .registry import UPSTREAM, deployment_of

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Clock, Reports, Totals, UsageRecord

    from .fleet import Fleet

DAY = 86_400
Days = Annotated[int, Meta(ge=1, le=3650)]


class Week(Struct, frozen=True):
    """Query of the metrics."""

    days: Days = 7


class Month(Struct, frozen=True):
    """Query of `GET /monitoring/usage`."""

    days: Days = 30


class Latest(Struct, frozen=True):
    """Query of the logs."""

    limit: Limit = 50


class Share(Struct, frozen=True):
    """What one model, deployment or day has of it."""

    name: str
    requests: int
    tokens: int


class Metrics(Struct, frozen=True):
    """What all users together used in the last days."""

    period_days: int
    total_requests: int
    failed_requests: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    by_model: list[Share]
    by_upstream: list[Share]
    by_day: list[Share]


class Usage(Struct, frozen=True):
    """What a user used in the last days."""

    period_days: int
    total_requests: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    by_model: list[Share]


class LogEntry(Struct, frozen=True):
    """One request. `certainty` tells whether the model reported the tokens: exact, partial or estimated."""

    id: str
    timestamp: str
    user_id: int | None
    deployment_id: int | None
    model: str
    endpoint: str
    status_code: int
    outcome: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    certainty: str
    response_time_ms: float


class Monitoring:
    """One method for each operation. Whatever a user did through this gate counts, on other surfaces too."""

    def __init__(self, reports: Reports, fleet: Fleet, clock: Clock) -> None:
        self._reports = reports
        self._fleet = fleet
        self._clock = clock

    async def metrics(self, call: Call[None, Week]) -> Metrics:
        """The whole gate."""
        wanted = call.query
        return await self._metrics(wanted.days)

    async def deployment_metrics(self, call: Call[None, Week]) -> Metrics:
        """One deployment, also one that was deleted since: what it did stays in the ledger."""
        wanted = call.query
        deployment_id = id_in_path(call, "deployment")
        upstream = f"{UPSTREAM}{deployment_id}"
        metrics = await self._metrics(wanted.days, upstream)
        if not metrics.total_requests:
            await self._fleet.registry.by_id(deployment_id)
        return metrics

    async def usage(self, call: Call[None, Month]) -> Usage:
        """The caller."""
        wanted = call.query
        which = Filter(user_id=call.principal.user_id, since=self._since(wanted.days))
        totals = await self._reports.totals(which)
        models = await self._reports.grouped("model", which)
        return Usage(
            wanted.days,
            totals.requests,
            totals.tokens,
            totals.input_tokens,
            totals.output_tokens,
            _shares(models),
        )

    async def my_logs(self, call: Call[None, Latest]) -> list[LogEntry]:
        """The caller's latest requests, newest first."""
        wanted = call.query
        which = Filter(user_id=call.principal.user_id)
        return [_entry(record) for record in await self._reports.records(which, limit=wanted.limit)]

    async def logs(self, call: Call[None, Latest]) -> list[LogEntry]:
        """Everybody's latest requests, newest first."""
        wanted = call.query
        return [_entry(record) for record in await self._reports.records(Filter(), limit=wanted.limit)]

    async def _metrics(self, days: int, upstream: str | None = None) -> Metrics:
        since = self._since(days)
        which = Filter(upstream=upstream, since=since)
        totals = await self._reports.totals(which)
        failed = await self._reports.totals(Filter(upstream=upstream, since=since, outcome=Outcome.FAILED))
        by_day = await self._reports.grouped("day", which)
        return Metrics(
            days,
            totals.requests,
            failed.requests,
            totals.tokens,
            totals.input_tokens,
            totals.output_tokens,
            _shares(await self._reports.grouped("model", which)),
            _shares(await self._reports.grouped("upstream", which)),
            _shares([(naive_iso(day)[:10], share) for day, share in by_day]),
        )

    def _since(self, days: int) -> float:
        return self._clock() - days * DAY


def _shares(groups: list[tuple[str, Totals]]) -> list[Share]:
    return [Share(name, totals.requests, totals.tokens) for name, totals in groups]


def _entry(record: UsageRecord) -> LogEntry:
    return LogEntry(
        record.request_id,
        naive_iso(record.at),
        record.user_id,
        deployment_of(record.upstream),
        record.model,
        record.endpoint,
        record.status,
        record.outcome,
        record.input_tokens,
        record.output_tokens,
        record.input_tokens + record.output_tokens,
        record.certainty,
        round(record.duration * 1000, 1),
    )
