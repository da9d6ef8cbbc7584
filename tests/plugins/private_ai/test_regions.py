"""Regions in the store: who sees which, and their secrets."""

from pgvector_server import PostgresServer

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, region

ANN = "ann@example.com"


async def test_a_dedicated_region_is_for_its_teams_alone(
    open_gate: OpenGate, postgres: PostgresServer
) -> None:
    async with open_gate(postgres=postgres) as running:
        body = region(postgres, "route:models", is_dedicated=True)
        made = await running.ask(ADMIN, "POST", "/regions", body)
        bees, wasps = await running.team("Bees"), await running.team("Wasps")
        await running.user(ANN, team_id=bees, role="key_creator")
        await running.user("bob@example.com", team_id=wasps, role="key_creator")
        path = f"/regions/{made['id']}/teams"
        await running.ask(ADMIN, "POST", f"{path}/{bees}")
        await running.ask(ADMIN, "POST", f"{path}/{bees}", status=400)
        public = await running.ask(ADMIN, "POST", f"/regions/1/teams/{bees}", status=400)
        assert public == {"detail": "Can only associate teams with dedicated regions"}
        assert [team["id"] for team in await running.ask(ADMIN, "GET", path)] == [bees]
        assert len(await running.ask(ANN, "GET", "/regions")) == 2
        assert len(await running.ask("bob@example.com", "GET", "/regions")) == 1
        new = {"name": "k", "region_id": made["id"]}
        await running.ask(ANN, "POST", "/private-ai-keys/token", new)
        refused = await running.ask("bob@example.com", "POST", "/private-ai-keys/token", new, status=404)
        assert refused == {"detail": "Region not found or inactive"}
        await running.ask(ADMIN, "DELETE", f"{path}/{bees}")
        await running.ask(ADMIN, "DELETE", f"{path}/{bees}", status=404)
        assert len(await running.ask(ANN, "GET", "/regions")) == 1
