"""The operations under /teams: what a team's admin changes, suspension, the end of a trial."""

from typing import Any

from llmgate_private_ai.plans import DAY
from plugins.private_ai.gate import ADMIN, COST, PASSWORD_OF_ALL, Running

ANN, BOB = "ann@example.com", "bob@example.com"
SUSPENDED = {"detail": "Your organization has been suspended. Please contact support."}


async def test_a_teams_admin_changes_some_of_it(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    path = f"/teams/{team}"
    changed = await running.ask(
        ANN, "PUT", path, {"name": "Wasps", "is_active": True, "is_always_free": False}
    )
    assert changed["name"] == "Wasps" and changed["updated_at"]
    for value in (
        {"is_always_free": True},
        {"budget_type": "pool"},
        {"force_user_keys": True},
        {"is_active": False},
    ):
        await running.ask(ANN, "PUT", path, value, status=403)
    assert (await running.ask(ADMIN, "PUT", path, {"is_always_free": True}))["is_always_free"]
    assert running.mailbox.received[-1]["Subject"] == "Wasps is free from now on"


async def test_a_suspended_team_is_kept_out_and_let_in_again(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    token = (await running.token(ANN))["litellm_token"]
    bob = await running.user(BOB, team_id=team, role="key_creator")
    await running.ask(ADMIN, "PUT", f"/users/{bob['id']}", {"is_active": False})

    async def members() -> Any:
        return (await running.ask(ADMIN, "GET", f"/teams/{team}"))["users"]

    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"is_active": False})
    assert await running.ask(ANN, "GET", "/private-ai-keys", status=403) == SUSPENDED
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"is_active": True})
    await running.ask(ADMIN, "POST", f"/teams/{team}/soft-delete")
    assert await running.ask(ANN, "GET", "/private-ai-keys", status=403) == SUSPENDED
    again = await running.http.post("/auth/login", data={"username": ANN, "password": PASSWORD_OF_ALL})
    assert (again.status_code, again.json()) == (403, SUSPENDED)
    assert (await running.chat(token)).status_code == 401
    assert {user["is_active"] for user in await members()} == {False}
    await running.ask(ADMIN, "POST", f"/teams/{team}/restore")
    assert (await running.chat(token)).status_code == 200
    assert await running.ask(ANN, "GET", "/private-ai-keys") != []
    assert {user["email"]: user["is_active"] for user in await members()} == {ANN: True, BOB: False}


async def test_a_trial_ends_to_the_second_and_is_extended(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    key = await running.token(ANN)
    extend = {"token": key["litellm_token"], "duration": "90d"}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    running.clock.pass_by(30 * DAY - 1)
    assert (await running.chat(key["litellm_token"])).status_code == 200
    running.clock.pass_by(1)
    assert (await running.chat(key["litellm_token"])).status_code == 401
    await running.sign_in(ADMIN, "admin")
    shown = await running.ask(ADMIN, "GET", f"/private-ai-keys/{key['id']}")
    assert shown["expires"] == "2027-04-15T08:00:00+00:00"  # its own
    await running.ask(ADMIN, "POST", f"/teams/{team}/extend-trial")
    assert (await running.chat(key["litellm_token"])).status_code == 200
    assert running.mailbox.received[-1]["Subject"] == "The trial of Bees goes on"
    usage = await running.ask(ADMIN, "GET", f"/private-ai-keys/{key['id']}/usage")
    assert (usage["spend"], usage["budget_duration"]) == (COST, "30d")
