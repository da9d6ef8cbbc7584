"""Teams, their members, invitations, plans and trials."""

from typing import Any

from mail_server import html_of, text_of

from llmgate_private_ai.plans import DAY
from plugins.private_ai.gate import ADMIN, COST, PASSWORD_OF_ALL, Running

ANN, BOB = "ann@example.com", "bob@example.com"
SUSPENDED = {"detail": "Your organization has been suspended. Please contact support."}


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


async def test_members_come_and_go(running: Running) -> None:
    team = await running.team("Bees")
    chief = await running.user(ANN, team_id=team, role="admin")
    bob = await running.user(BOB)
    added = await running.ask(ADMIN, "POST", f"/users/{bob['id']}/add-to-team", {"team_id": team})
    assert (added["team_id"], added["team_name"], added["role"]) == (team, "Bees", "read_only")
    await running.ask(ADMIN, "POST", f"/users/{bob['id']}/add-to-team", {"team_id": team}, status=400)
    role = await running.ask(ANN, "POST", f"/users/{bob['id']}/role", {"role": "key_creator"})
    assert role["role"] == "key_creator"
    wrong = await running.ask(ANN, "POST", f"/users/{bob['id']}/role", {"role": "system_admin"}, status=400)
    assert wrong == {"detail": "Invalid role. Must be one of: admin, key_creator, read_only"}
    await running.ask(ADMIN, "PUT", f"/users/{bob['id']}", {"is_admin": True}, status=400)
    removed = await running.ask(ANN, "POST", f"/users/{bob['id']}/remove-from-team")
    assert (removed["team_id"], removed["role"]) == (None, None)
    await running.ask(ADMIN, "POST", f"/users/{bob['id']}/remove-from-team", status=400)
    for path, body in (("remove-from-team", None), ("role", {"role": "read_only"})):
        last = await running.ask(ANN, "POST", f"/users/{chief['id']}/{path}", body, status=400)
        assert last == {"detail": "Cannot remove the last team admin from the team"}
    boss = (await running.ask(ADMIN, "GET", "/auth/me"))["id"]
    await running.ask(ADMIN, "POST", f"/users/{boss}/add-to-team", {"team_id": team}, status=400)
    await running.ask(ADMIN, "POST", f"/users/{boss}/role", {"role": "admin"}, status=400)


async def test_lists_of_users(running: Running) -> None:
    bees = await running.team("Bees")
    await running.user("ann_x@example.com", team_id=bees, role="admin")
    await running.user("annyx@example.com")
    running.http.cookies.clear()
    answer = await running.http.get("/users", headers={"authorization": f"Bearer {running.bearers[ADMIN]}"})
    assert answer.headers["x-total-count"] == "3"
    page = await running.ask(ADMIN, "GET", "/users?sort_by=email&sort_order=desc&limit=1&skip=1")
    assert [each["email"] for each in page] == ["ann_x@example.com"]
    assert [each["email"] for each in await running.ask("ann_x@example.com", "GET", "/users")] == [
        "ann_x@example.com"
    ]
    assert [each["email"] for each in await running.ask(ADMIN, "GET", "/users?role=system_admin")] == [ADMIN]
    found = await running.ask(ADMIN, "GET", "/users/search?email=N_X@")
    assert [each["email"] for each in found] == ["ann_x@example.com"]
    await running.ask(ADMIN, "GET", "/users/search", status=422)
    await running.ask(ADMIN, "GET", "/users?limit=1001", status=422)


async def test_who_is_added_without_a_password_is_invited(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    made = await running.ask(ANN, "POST", "/users", {"email": BOB, "role": "key_creator"}, status=201)
    assert (made["team_id"], made["role"]) == (team, "key_creator")
    (mail,) = running.mailbox.to(BOB)
    assert mail["Subject"] == f"{ANN} invites you to Bees"
    assert "http://localhost:3000/auth/login" in text_of(mail)
    assert '<a href="http://localhost:3000/auth/login">' in html_of(mail)
    await running.ask(None, "POST", "/auth/validate-email", {"email": BOB})
    body = {"username": BOB, "verification_code": running.code(BOB)}
    running.bearers[BOB] = (await running.ask(None, "POST", "/auth/sign-in", body))["access_token"]
    running.http.cookies.clear()
    assert (await running.ask(BOB, "GET", "/auth/me"))["role"] == "key_creator"


async def test_names_in_mails_are_text(running: Running) -> None:
    team = await running.team("<b>Bees</b>")
    await running.ask(ADMIN, "POST", "/users", {"email": BOB, "team_id": team}, status=201)
    assert "&lt;b&gt;Bees&lt;/b&gt;" in html_of(running.mailbox.to(BOB)[0])


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


async def test_products_say_what_a_team_may_have(running: Running) -> None:
    product = {"id": "prod_1", "name": "Small", "user_count": 2, "keys_per_user": 1}
    made = await running.ask(ADMIN, "POST", "/products", product, status=201)
    assert (made["max_budget_per_key"], made["rpm_per_key"], made["active"]) == (20.0, 500, True)
    assert await running.ask(ADMIN, "POST", "/products", product, status=400) == {
        "detail": "Product with ID prod_1 already exists"
    }
    team = await running.team("Bees")
    await link(running, team, "prod_1")
    await running.user(ANN, team_id=team, role="admin")
    await running.user(BOB, team_id=team, role="key_creator")
    body = {"email": "c@c.de", "password": "long enough", "team_id": team}
    full = await running.ask(ADMIN, "POST", "/users", body, status=402)
    assert full == {"detail": "Team has reached the maximum user limit of 2 users"}
    assert await running.ask(ADMIN, "GET", "/users/search?email=c@c.de") == []
    await running.token(BOB)
    full = await running.ask(BOB, "POST", "/private-ai-keys/token", {"name": "k", "region_id": 1}, status=402)
    assert full == {"detail": "User has reached the maximum LLM token limit of 1 tokens"}
    assert [each["id"] for each in await running.ask(ANN, "GET", f"/products?team_id={team}")] == ["prod_1"]
    used = await running.ask(ADMIN, "DELETE", "/products/prod_1", status=400)
    assert used == {"detail": "Cannot delete product that is associated with one or more teams"}


async def link(running: Running, team_id: int, product_id: str) -> None:
    """What an event of billing does."""
    from llmgate_private_ai.products import Products

    store = running.gate.services.store
    async with store.change() as db:
        assert await Products(store).link(team_id, product_id, db)


async def test_a_key_gets_its_terms_from_the_plan(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    running.clock.pass_by(7 * DAY)
    await running.sign_in(ANN)
    key = await running.token(ANN)
    usage = await running.ask(ANN, "GET", f"/private-ai-keys/{key['id']}/usage")
    assert (usage["max_budget"], usage["budget_duration"], usage["rpm_limit"]) == (27.0, "23d", 500)
    assert usage["expires"] == usage["budget_reset_at"] == "2027-02-14T08:00:00+00:00"


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


async def test_who_need_not_pay_has_no_trial_to_end(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    key = await running.token(ANN)
    extend = {"token": key["litellm_token"], "duration": "90d"}
    await running.ask(ADMIN, "PUT", "/private-ai-keys/token/extend-token-life", extend)
    await running.ask(ADMIN, "PUT", f"/teams/{team}", {"is_always_free": True})
    running.clock.pass_by(31 * DAY)
    assert (await running.chat(key["litellm_token"])).status_code == 200
