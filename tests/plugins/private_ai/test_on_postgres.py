"""The same on a store that is PostgreSQL: what locks, counts and searches differently there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pgvector_server import PostgresServer
from stores import postgres_database

from llmgate.store import CORE, migrate
from llmgate_private_ai.tables import MIGRATIONS
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, COST, Running

ANN = "ann@example.com"


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_database() as url:
        asyncio.run(migrate(url, sets=(CORE, MIGRATIONS)))
        yield url


@pytest.fixture
async def on_postgres(url: str, open_gate: OpenGate, postgres: PostgresServer) -> AsyncIterator[Running]:
    def change(document: dict[str, Any]) -> None:
        document["store"]["url"] = url

    async with open_gate(postgres=postgres, change=change) as running:
        yield running


async def test_a_teams_way_from_its_making_to_its_end(on_postgres: Running) -> None:
    running = on_postgres
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    await running.ask(None, "POST", "/auth/validate-email", {"email": "bob@example.com"})
    code = {"username": "bob@example.com", "verification_code": running.code("bob@example.com")}
    assert (await running.ask(None, "POST", "/auth/sign-in", code))["token_type"] == "bearer"
    running.http.cookies.clear()
    key = await running.ask(ANN, "POST", "/private-ai-keys", {"name": "k", "region_id": 1, "team_id": team})
    assert (await running.chat(key["litellm_token"])).status_code == 200
    usage = await running.ask(ANN, "GET", f"/private-ai-keys/{key['id']}/usage")
    assert usage["spend"] == pytest.approx(COST)
    await running.ask(ADMIN, "POST", f"/teams/{team}/extend-trial")
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"budget_type": "pool"})
    assert (await running.chat(key["litellm_token"])).status_code == 402
    body = {"amount_cents": 500, "stripe_payment_id": "pi_1"}
    path = f"/budgets/region/1/teams/{team}/purchase"
    await running.ask(ADMIN, "POST", path, body, status=201)
    await running.ask(ADMIN, "POST", path, body, status=409)
    assert (await running.chat(key["litellm_token"])).status_code == 200
    found = await running.ask(ADMIN, "GET", "/users/search?email=ANN")
    assert [each["email"] for each in found] == [ANN]
    assert (await running.ask(ADMIN, "GET", "/audit/logs?status_code=402,409"))["total"] == 1
    await running.ask(ANN, "DELETE", f"/private-ai-keys/{key['id']}")
    await running.ask(ADMIN, "DELETE", f"/teams/{team}")


async def test_of_keys_made_at_once_no_more_than_the_plan_gives(on_postgres: Running) -> None:
    await on_postgres.user(ANN)
    body = {"name": "k", "region_id": 1}
    made = await asyncio.gather(
        *(on_postgres.ask(ANN, "POST", "/private-ai-keys/token", body, status=None) for _ in range(9))
    )
    assert sum("detail" in answer for answer in made) == 4
    assert len(await on_postgres.ask(ANN, "GET", "/private-ai-keys")) == 5
