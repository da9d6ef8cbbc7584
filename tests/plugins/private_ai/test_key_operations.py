"""The operations under /private-ai-keys."""

from plugins.private_ai.gate import ADMIN, Running

ANN = "ann@example.com"


async def test_a_teams_admin_gives_no_more_than_the_plan_does(running: Running) -> None:
    team = await running.team("Bees")
    await running.user("chief@bees.example", team_id=team, role="admin")
    key = await running.token("chief@bees.example")
    for more in ({"max_budget": 27.5}, {"rpm": 501}, {"duration": "31d"}):
        body = {"token": key["litellm_token"], "duration": 30, **more}
        path = "/private-ai-keys/token/extend-token-life"
        refused = await running.ask("chief@bees.example", "PUT", path, body, status=402)
        assert refused["detail"].startswith("The plan of this team gives a key at most ")
    assert (await running.ask("chief@bees.example", "GET", f"/private-ai-keys/{key['id']}"))[
        "max_budget"
    ] == 27.0


async def test_without_its_server_a_database_cannot_be_made_and_nothing_stays(running: Running) -> None:
    await running.user("ann@example.com")
    body = {"name": "mine", "region_id": 1}
    refused = await running.ask("ann@example.com", "POST", "/private-ai-keys", body, status=500)
    assert refused == {
        "detail": "Failed to create vector database: the server cannot be reached (ConnectionRefusedError)"
    }
    assert await running.ask("ann@example.com", "GET", "/private-ai-keys") == []
    assert await running.ask(ADMIN, "GET", "/private-ai-keys") == []
