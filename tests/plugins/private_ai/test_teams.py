"""Teams in the store: what is unique, and what a team's plan and trial give its keys."""

from llmgate_private_ai.plans import DAY
from plugins.private_ai.gate import ADMIN, Running

ANN = "ann@example.com"


async def test_a_team(running: Running) -> None:
    body = {"name": "Bees", "admin_email": "Chief@Bees.example", "phone": "1", "billing_address": "Hive"}
    made = await running.ask(ADMIN, "POST", "/teams", body, status=201)
    assert made == {
        "id": made["id"], "name": "Bees", "admin_email": "chief@bees.example", "phone": "1",
        "billing_address": "Hive", "is_active": True, "is_always_free": False,
        "created_at": "2027-01-15T08:00:00+00:00", "updated_at": None, "last_payment": None,
        "stripe_customer_id": None, "budget_type": "periodic", "deleted_at": None, "force_user_keys": False,
    }  # fmt: skip
    assert await running.ask(ADMIN, "POST", "/teams", body, status=400) == {
        "detail": "Email already registered"
    }
    other = {**body, "admin_email": "x@x.de"}
    assert await running.ask(ADMIN, "POST", "/teams", other, status=400) == {
        "detail": "Team name already exists"
    }
    assert await running.ask(ADMIN, "GET", "/teams") == [made]
    assert await running.ask(ADMIN, "GET", f"/teams/{made['id']}/") == {**made, "users": []}
    await running.ask(ADMIN, "GET", "/teams/99999", status=404)
    await running.ask(ADMIN, "GET", "/teams/x", status=404)


async def test_a_key_gets_its_terms_from_the_plan(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    running.clock.pass_by(7 * DAY)
    await running.sign_in(ANN)
    key = await running.token(ANN)
    usage = await running.ask(ANN, "GET", f"/private-ai-keys/{key['id']}/usage")
    assert (usage["max_budget"], usage["budget_duration"], usage["rpm_limit"]) == (27.0, "23d", 500)
    assert usage["expires"] == usage["budget_reset_at"] == "2027-02-14T08:00:00+00:00"


async def test_who_need_not_pay_has_no_trial_to_end(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    key = await running.token(ANN)
    extend = {"token": key["litellm_token"], "duration": "90d"}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"is_always_free": True})
    running.clock.pass_by(31 * DAY)
    assert (await running.chat(key["litellm_token"])).status_code == 200
