"""Signing in: by password, by code, by link, by API token; what one changes of oneself."""

from typing import Any

import pytest

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, ADMIN_PASSWORD, Running

ANN = "ann@example.com"
CODE_SENT = {"message": "Validation code has been generated and sent"}


async def test_the_first_admin(running: Running) -> None:
    me = await running.ask(ADMIN, "GET", "/auth/me")
    assert me == {
        "id": me["id"], "email": ADMIN, "is_active": True, "is_admin": True,
        "team_id": None, "team_name": None, "role": None,
    }  # fmt: skip


async def test_registering_gives_no_rights_whatever_is_asked_for(running: Running) -> None:
    body = {
        "email": "Ann@Example.com",
        "password": "long enough",
        "is_admin": True,
        "role": "admin",
        "team_id": 1,
    }
    made = await running.ask(None, "POST", "/auth/register", body)
    assert (made["email"], made["is_admin"], made["team_id"], made["role"]) == (ANN, False, None, None)
    again = await running.ask(None, "POST", "/auth/register", body, status=400)
    assert again == {"detail": "Email already registered"}
    short = await running.ask(
        None, "POST", "/auth/register", {"email": "b@b.de", "password": "short"}, status=400
    )
    assert short == {"detail": "The password must have at least 8 characters."}


async def test_all_sessions_end_and_the_cookie_goes(running: Running) -> None:
    values = {"username": ADMIN, "password": ADMIN_PASSWORD}
    tokens = [(await running.http.post("/auth/login", json=values)).json()["access_token"] for _ in range(2)]
    running.http.cookies.clear()
    first, second = ({"Authorization": f"Bearer {token}"} for token in tokens)
    ended = await running.http.delete("/auth/sessions", headers=first)
    assert (ended.status_code, "access_token=" in ended.headers["set-cookie"]) == (204, True)
    assert (await running.http.get("/auth/me", headers=second)).status_code == 401


@pytest.mark.parametrize("kind", ["form", "json"])
async def test_logging_in_by_form_or_json(running: Running, kind: str) -> None:
    values = {"username": ADMIN.upper(), "password": ADMIN_PASSWORD}
    answer = await running.http.post(
        "/auth/login", **({"data": values} if kind == "form" else {"json": values})
    )
    assert answer.json()["token_type"] == "bearer"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"access_token={answer.json()['access_token']}")
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=28800"} <= {
        part.strip() for part in cookie.split(";")
    }
    assert "Secure" not in cookie
    assert (await running.http.get("/auth/me")).json()["email"] == ADMIN  # by the cookie


@pytest.mark.parametrize(
    ("values", "status", "detail"),
    [
        ({"username": ADMIN, "password": "wrong"}, 401, "Incorrect email or password"),
        ({"username": "nobody@example.com", "password": "wrong"}, 401, "Incorrect email or password"),
        ({"username": ADMIN}, 422, "body: Object missing required field `password`"),
    ],
)
async def test_bad_logins(running: Running, values: dict[str, str], status: int, detail: str) -> None:
    answer = await running.http.post("/auth/login", data=values)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_login_that_is_neither_form_nor_json(running: Running) -> None:
    answer = await running.http.post("/auth/login", content="<a/>", headers={"content-type": "text/xml"})
    assert answer.status_code == 400 and "application/json" in answer.json()["detail"]


async def test_a_cookie_over_https_is_secure(open_gate: OpenGate) -> None:
    def change(document: dict) -> None:  # type: ignore[type-arg]
        document["plugins"]["llmgate_private_ai"]["public_url"] = "https://api.example.com"

    async with open_gate(change=change) as running:
        answer = await running.http.post("/auth/login", data={"username": ADMIN, "password": ADMIN_PASSWORD})
        assert "; Secure" in answer.headers["set-cookie"]


async def test_a_code_makes_the_user_and_a_team_and_works_once(running: Running) -> None:
    asked = await running.ask(None, "POST", "/auth/validate-email", {"email": "Ann+spam@example.com"})
    assert asked == CODE_SENT
    code = running.code(ANN)
    assert len(code) == 8
    body = {"username": "ann@example.com", "verification_code": code.lower()}
    token = (await running.ask(None, "POST", "/auth/sign-in", body))["access_token"]
    me = await running.http.get("/auth/me", headers={"authorization": f"Bearer {token}"})
    assert (me.json()["role"], me.json()["team_name"]) == ("admin", f"Team {ANN}")
    refused = await running.ask(None, "POST", "/auth/sign-in", body, status=401)
    assert refused == {"detail": "Incorrect email or verification code"}
    await running.ask(None, "POST", "/auth/validate-email", {"email": ANN})
    assert running.mailbox.received[-1]["Subject"] == "Your sign-in code"
    body["verification_code"] = running.code(ANN)
    running.http.cookies.clear()
    again = (await running.ask(None, "POST", "/auth/sign-in", body))["access_token"]
    back = await running.http.get("/auth/me", headers={"authorization": f"Bearer {again}"})
    assert back.json() == me.json()


async def test_who_has_a_team_waiting_joins_it_as_its_admin(running: Running) -> None:
    body = {"name": "Bees", "admin_email": ANN}
    team = await running.ask(ADMIN, "POST", "/teams", body, status=201)
    await running.ask(None, "POST", "/auth/validate-email", {"email": ANN})
    body = {"username": ANN, "verification_code": running.code(ANN)}
    running.bearers[ANN] = (await running.ask(None, "POST", "/auth/sign-in", body))["access_token"]
    running.http.cookies.clear()
    me = await running.ask(ANN, "GET", "/auth/me")
    assert (me["team_id"], me["role"]) == (team["id"], "admin")


@pytest.mark.parametrize("wrong", [4, 5])
async def test_a_code_bears_few_wrong_tries(running: Running, wrong: int) -> None:
    await running.ask(None, "POST", "/auth/validate-email", {"email": ANN})
    body = {"username": ANN, "verification_code": "00000000"}
    for _ in range(wrong):
        await running.ask(None, "POST", "/auth/sign-in", body, status=401)
    body["verification_code"] = running.code(ANN)
    await running.ask(None, "POST", "/auth/sign-in", body, status=200 if wrong == 4 else 401)


async def test_a_code_expires(running: Running) -> None:
    await running.ask(None, "POST", "/auth/validate-email", {"email": ANN})
    running.clock.pass_by(600)
    body = {"username": ANN, "verification_code": running.code(ANN)}
    await running.ask(None, "POST", "/auth/sign-in", body, status=401)


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/auth/validate-email", {}, 400, "Email is required"),
        ("/auth/validate-email", {"email": "ann"}, 400, "The email is not an e-mail address."),
        ("/auth/sign-in", {}, 400, "Username and verification code are required"),
        (
            "/auth/sign-in",
            {"username": "ann", "verification_code": "x"},
            401,
            "Incorrect email or verification code",
        ),
    ],
)
async def test_bad_codes(running: Running, path: str, body: dict[str, str], status: int, detail: str) -> None:
    assert await running.ask(None, "POST", path, body, status=status) == {"detail": detail}


async def test_a_first_sign_in_counts_as_a_sign_up_and_no_other_does(open_gate: OpenGate) -> None:
    """Of the requests of an hour: three codes, and one account."""

    def change(document: dict[str, Any]) -> None:
        hourly = next(limit for limit in document["limits"] if limit["window"] == "hour")
        hourly["requests"] = 4

    async def code(status: int) -> None:
        await running.ask(None, "POST", "/auth/validate-email", {"email": ANN}, status=status)

    async def sign_in(address: str = ANN) -> int:
        body = {"username": address, "verification_code": running.code(address)}
        answer = await running.http.post("/auth/sign-in", json=body)
        running.http.cookies.clear()
        return answer.status_code

    async with open_gate(change=change) as running:
        await code(200)
        assert await sign_in() == 200  # makes the account: 2
        await code(200)
        assert await sign_in() == 200  # makes none
        bob = "bob@example.com"
        await running.ask(None, "POST", "/auth/validate-email", {"email": bob})
        assert await sign_in(bob) == 429
        assert bob not in str(await running.ask(ADMIN, "GET", "/users"))
        await code(429)


async def test_a_mail_that_cannot_go_out(running: Running) -> None:
    running.mailbox.refuse = "451 not now"
    refused = await running.ask(None, "POST", "/auth/validate-email", {"email": ANN}, status=500)
    assert refused == {"detail": "Failed to send validation code email"}


async def test_logging_out_ends_the_session_everywhere(running: Running) -> None:
    token = running.bearers[ADMIN]
    answer = await running.http.post(
        "/auth/logout", headers={"cookie": f"access_token={token}", "content-type": "application/json"}
    )
    assert answer.json() == {"message": "Successfully logged out"}
    assert "Max-Age=0" in answer.headers["set-cookie"]
    await running.ask(ADMIN, "GET", "/auth/me", status=401)
    await running.ask(None, "POST", "/auth/logout")


async def test_changing_ones_address_and_password(running: Running) -> None:
    await running.user(ANN)

    async def change(status: int = 200, **body: object) -> str:
        answer = await running.ask(ANN, "PUT", "/auth/me/update", body, status=status)
        return str(answer.get("detail", answer.get("email")))

    assert await change(400, new_password="another one") == "Current password is required to update password"
    assert await change(400, email="b@example.com") == "Current password is required to update email"
    assert await change(400, email="b@example.com", current_password="wrong") == "Incorrect password"
    assert await change(400, email=ADMIN, current_password="long enough") == "Email already registered"
    assert await change(200, is_admin=True) == ANN
    assert not (await running.ask(ANN, "GET", "/auth/me"))["is_admin"]
    assert await change(200, email="b@example.com", current_password="long enough") == "b@example.com"
    assert await change(200, new_password="another one", current_password="long enough") == "b@example.com"
    await running.sign_in("b@example.com", "another one")


async def test_a_session_is_refreshed(running: Running) -> None:
    new = await running.ask(ADMIN, "GET", "/auth/validate-jwt")
    assert new["access_token"] != running.bearers[ADMIN]
    running.http.cookies.clear()
    await running.ask(None, "GET", "/auth/validate-jwt", status=401)
    refused = await running.ask(None, "GET", "/auth/validate-jwt?token=x", status=401)
    assert refused == {"detail": "Could not validate credentials"}


async def test_a_page_of_another_origin_changes_nothing(running: Running) -> None:
    cookie = {"cookie": f"access_token={running.bearers[ADMIN]}", "origin": "https://evil.example"}
    answer = await running.http.post("/teams", json={"name": "x", "admin_email": "x@x.de"}, headers=cookie)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    ours = {**cookie, "origin": "http://localhost:3000"}
    answer = await running.http.post("/teams", json={"name": "x", "admin_email": "x@x.de"}, headers=ours)
    assert answer.status_code == 201
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["access-control-allow-credentials"] == "true"
