"""The operations under /users: members, roles, lists and invitations."""

from mail_server import html_of, text_of

from plugins.private_ai.gate import ADMIN, Running

ANN, BOB = "ann@example.com", "bob@example.com"


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
