"""`/metrics/teams`: one series for each team and key, by their ids, for those who opt in and have few of them.

The gate's own metrics have labels from closed sets alone; these have not, so they are off without a token.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.responses import PlainTextResponse

from llmgate.plugin.api import Filter, Subject, Unauthenticated, Unit, answer

from .keys import State
from .plans import DAY
from .teams import WhichTeams

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from .parts import Parts

MAX_ROWS = 10_000
"""Teams, and keys, that are told of."""
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class TeamMetrics:
    """The ASGI app of the operation; `token` is what a scraper has to send as `Authorization: Bearer`."""

    def __init__(self, parts: Parts, token: str) -> None:
        self._parts = parts
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, self._expected):
            await answer(scope, send, Unauthenticated("Could not validate credentials"))
            return
        response = PlainTextResponse(generate_latest(await self._read()), media_type=TEXT)
        await response(scope, receive, send)

    async def _read(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        age = Gauge("team_freshness_days", "Days since the team was made.", ["team_id"], registry=registry)
        expired = Gauge("team_expired_total", "1 once its trial has ended.", ["team_id"], registry=registry)
        spend = Gauge("team_total_spend", "Money it has spent, ever.", ["team_id"], registry=registry)
        share = Gauge(
            "key_spend_percentage", "Share of its budget.", ["key_id", "team_id"], registry=registry
        )
        gate, teams = self._parts.gate, self._parts.teams
        spent = dict(await gate.reports.grouped("organization_id", Filter(), limit=MAX_ROWS))
        now = gate.store.clock()
        for team in await teams.page(WhichTeams(limit=MAX_ROWS)):
            async with gate.store.connect() as db:
                end = (await teams.standing(team, db)).trial_end(teams.defaults)
            age.labels(team.id).set((now - team.created_at) // DAY)
            expired.labels(team.id).set(end is not None and now >= end)
            spend.labels(team.id).set(spent[team.id].cost / 1e6 if team.id in spent else 0)
        for key in (await self._parts.keys.all())[:MAX_ROWS]:
            if key.api_key_id is None or key.state != State.LIVE:
                continue
            for balance in await gate.quotas.of(Subject("key", key.api_key_id)):
                if balance.allotment.unit == Unit.MONEY and balance.allotment.limit:
                    share.labels(key.id, key.payer or "").set(100 * balance.used / balance.allotment.limit)
        return registry
