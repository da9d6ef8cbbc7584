"""Usage, reports and anomalies, from the ledger's records, on both databases and over HTTP."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from stores import Clock

from llmgate.identity import Identity, User
from llmgate.ledger import Quotas
from llmgate.store import Store
from llmgate.store.schema import usage
from llmgate_leaky_tokens.analytics import Analytics, AnomalyQuery, ReportQuery, UsageQuery
from llmgate_leaky_tokens.providers import Provider
from llmgate_leaky_tokens.quotas import ProviderQuotas
from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import NOON, PLUGIN, Running

HOUR = 3600.0


@pytest.fixture
def analytics(store: Store) -> Analytics:
    quotas = ProviderQuotas(Quotas(store), {name: Provider(model="m") for name in ("openai", "qwen")})
    return Analytics(store, quotas, clock=store.clock)


@pytest.fixture
async def people(store: Store) -> list[User]:
    users = Identity.over(store).users
    return [await users.register(name, None) for name in ("ada", "bob", "eve")]


async def model_request(operation: Callable[[Any], Any], kind: type[msgspec.Struct], **query: object) -> Any:
    """The answer of an operation, as JSON has it."""
    call: Any = SimpleNamespace(query=msgspec.convert({"provider": "openai", **_camel(query)}, kind))
    return msgspec.to_builtins(await operation(call))


def _camel(query: dict[str, object]) -> dict[str, object]:
    first = [name.partition("_") for name in query]
    names = [head + tail.title().replace("_", "") for head, _, tail in first]
    return dict(zip(names, query.values(), strict=True))


async def note(store: Store, user: User, tokens: int, ago: float = 60, **columns: object) -> None:
    """Write a record of a consumption `ago` seconds before noon."""
    count = 0
    async with store.begin() as db:
        count = int(await db.scalar(sa.select(sa.func.count()).select_from(usage)) or 0)
        row = {
            "request_id": f"request-{count}",
            "at": NOON - ago,
            "user_id": user.id,
            "route": PLUGIN,
            "surface": "leaky_tokens",
            "upstream": "openai",
            "model": "m",
            "endpoint": "chat",
            "certainty": "exact",
            "outcome": "finished",
            "status": 200,
            "duration": 0.1,
            "booked": tokens,
            **dict.fromkeys(
                ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost"), 0
            ),
            **columns,
        }
        await db.execute(usage.insert().values(row))


async def test_usage_lists_the_latest_first(store: Store, analytics: Analytics, people: list[User]) -> None:
    """Allowed and denied, with what they asked for; not other providers, surfaces or failures."""
    ada, bob, _ = people
    await note(store, ada, 50, ago=300)
    await note(store, bob, 70, ago=100, outcome="refused")
    await note(store, ada, 1, upstream="qwen")
    await note(store, ada, 2, surface="")
    await note(store, ada, 3, outcome="failed")
    assert await model_request(analytics.usage, UsageQuery) == {
        "provider": "openai",
        "count": 2,
        "items": [
            {
                "key": {"provider": "openai", "timestamp": "2026-02-05T11:58:20Z"},
                "userId": bob.uuid,
                "tokens": 70,
                "allowed": False,
            },
            {
                "key": {"provider": "openai", "timestamp": "2026-02-05T11:55:00Z"},
                "userId": ada.uuid,
                "tokens": 50,
                "allowed": True,
            },
        ],
    }


async def test_usage_has_a_limit(store: Store, analytics: Analytics, people: list[User]) -> None:
    for number in range(25):
        await note(store, people[0], number + 1, ago=number)
    assert (await model_request(analytics.usage, UsageQuery))["count"] == 20
    few = await model_request(analytics.usage, UsageQuery, limit=2)
    assert [item["tokens"] for item in few["items"]] == [1, 2]


async def test_a_report_adds_up_a_window(store: Store, analytics: Analytics, people: list[User]) -> None:
    """Tokens are those of allowed events; the average is over all of them, as in the guide's numbers."""
    ada, bob, eve = people
    await note(store, ada, 100)
    await note(store, ada, 200, ago=HOUR - 1)
    await note(store, bob, 400)
    await note(store, eve, 900, outcome="refused")
    await note(store, eve, 5000, ago=HOUR)
    assert await model_request(analytics.report, ReportQuery) == {
        "provider": "openai",
        "windowStart": "2026-02-05T11:00:00Z",
        "windowEnd": "2026-02-05T12:00:00Z",
        "totalEvents": 4,
        "allowedEvents": 3,
        "deniedEvents": 1,
        "totalTokens": 700,
        "averageTokens": 175.0,
        "uniqueUsers": 3,
        "topUsers": [
            {"userId": bob.uuid, "totalTokens": 400, "events": 1},
            {"userId": ada.uuid, "totalTokens": 300, "events": 2},
            {"userId": eve.uuid, "totalTokens": 0, "events": 1},
        ],
    }


async def test_a_report_of_a_part(store: Store, analytics: Analytics, people: list[User]) -> None:
    """`sampleLimit` takes the latest events only, `topUsers` shows so many users; the sums stay whole."""
    for number, user in enumerate(people):
        await note(store, user, 10 * (number + 1), ago=number)
    sample = await model_request(analytics.report, ReportQuery, sample_limit=2)
    assert (sample["totalEvents"], sample["totalTokens"]) == (2, 30)
    top = await model_request(analytics.report, ReportQuery, top_users=1)
    assert (top["uniqueUsers"], top["totalTokens"], len(top["topUsers"])) == (3, 60, 1)


async def test_a_report_of_nothing(analytics: Analytics) -> None:
    report = await model_request(analytics.report, ReportQuery, window_minutes=5)
    assert (report["totalEvents"], report["averageTokens"], report["topUsers"]) == (0, 0.0, [])


async def test_a_window_far_over_the_ones_before_is_an_anomaly(
    store: Store, analytics: Analytics, people: list[User]
) -> None:
    """The guide's numbers: 5000 against 1500 on average are 3.33 times as much."""
    for hours, tokens in ((1, 1000), (2, 1500), (3, 2000)):
        await note(store, people[0], tokens, ago=hours * HOUR + 60)
    await note(store, people[0], 5000)
    await note(store, people[0], 9999, ago=5 * HOUR)
    await note(store, people[0], 9999, outcome="refused")
    assert await model_request(analytics.anomalies, AnomalyQuery) == {
        "provider": "openai",
        "currentWindowStart": "2026-02-05T11:00:00Z",
        "currentWindowEnd": "2026-02-05T12:00:00Z",
        "currentTokens": 5000,
        "baselineAverage": 1500.0,
        "ratio": 3.33,
        "threshold": 2.0,
        "anomaly": True,
    }
    calm = await model_request(analytics.anomalies, AnomalyQuery, threshold_multiplier=3.5)
    assert (calm["threshold"], calm["anomaly"]) == (3.5, False)
    recent = await model_request(analytics.anomalies, AnomalyQuery, baseline_windows=1)
    assert (recent["baselineAverage"], recent["ratio"]) == (1000.0, 5.0)


async def test_without_a_past_nothing_is_unusual(
    store: Store, analytics: Analytics, people: list[User]
) -> None:
    await note(store, people[0], 5000)
    found = await model_request(analytics.anomalies, AnomalyQuery)
    assert (found["currentTokens"], found["ratio"], found["anomaly"]) == (5000, 0.0, False)


async def test_queries_read_the_partial_index_alone(store: Store, analytics: Analytics) -> None:
    """Ten million records of other routes cost them nothing."""
    if store.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL's planner decides by the number of rows")
    statements: list[tuple[str, Any]] = []
    sa.event.listen(
        store._reader.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, parameters, *_: statements.append((statement, parameters)),
    )
    await model_request(analytics.usage, UsageQuery)
    await model_request(analytics.report, ReportQuery)
    await model_request(analytics.anomalies, AnomalyQuery)
    async with store.connect() as db:
        for statement, parameters in list(statements):
            if "FROM usage" in statement:
                plan = await db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                assert "COVERING INDEX ix_usage_surface (surface=? AND upstream=?" in str(plan.all())
    assert len(statements) >= 4


# --- over HTTP


async def test_consumptions_show_up(running: Running, clock: Clock) -> None:
    """What was denied, too; the user's own token is enough, as in the guide."""
    account = await running.account()
    await running.consume(account, 50)
    await running.consume(account, 2000)
    clock.pass_by(1)
    answer = await running.http.get(
        "/api/v1/analytics/usage", params={"provider": "openai", "limit": 20}, headers=account.bearer
    )
    items = answer.json()["items"]
    assert sorted((item["tokens"], item["allowed"]) for item in items) == [(50, True), (2000, False)]


@pytest.mark.parametrize(
    "query",
    [
        "usage?provider=openai&limit=201",
        "usage?provider=openai&limit=0",
        "usage?provider=openai&limit=many",
        "usage?provider=nobody",
        "usage",
        "report?provider=openai&windowMinutes=0",
        "report?provider=openai&sampleLimit=0",
        "anomalies?provider=openai&baselineWindows=0",
        "anomalies?provider=openai&thresholdMultiplier=nan",
        "anomalies?provider=openai&thresholdMultiplier=-1",
    ],
)
async def test_a_query_that_cannot_be_is_400(running: Running, query: str) -> None:
    account = await running.account()
    answer = await running.http.get(f"/api/v1/analytics/{query}", headers=account.bearer)
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "timestamp"}


async def test_analytics_can_be_for_some_only(open_gate: OpenLeakyGate) -> None:
    """The guide shows them to every user; they tell of all users."""

    def admins(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN]["analytics_roles"] = ["admin"]

    async with open_gate(admins) as running:
        account, admin = await running.account(), await running.account("root", admin=True)
        path = "/api/v1/analytics/usage?provider=openai"
        statuses = [
            (await running.http.get(path, headers=who.bearer)).status_code for who in (account, admin)
        ]
        assert statuses == [403, 200]
        assert (await running.http.get(path)).status_code == 401
