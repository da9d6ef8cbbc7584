"""Steps 2 and 5 of the guide: logging in, refreshing, and every token that is not good."""

import httpx
import jwt
import pytest
from stores import Clock

from plugins.accounts import JOHN, PROMPT, at, http, log_in, running, upstream, used
from plugins.conftest import Model, OpenGate, Running

__all__ = ["http", "running", "upstream"]


async def test_log_in_answers_with_a_token(http: httpx.AsyncClient) -> None:
    """Step 2 of the guide, and RFC 6749, 5.1: tokens are not to be stored on the way."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post(
        "/auth/token",
        content="username=john_doe&password=secure_password123",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    token = answer.json().pop("access_token")
    assert answer.json() == {"access_token": token, "token_type": "bearer"}
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


async def test_oauth2_clients_may_name_the_grant(http: httpx.AsyncClient) -> None:
    """RFC 6749, 4.3.2: `grant_type=password`; parameters that nobody knows are ignored, other grants refused."""
    await http.post("/auth/register", json=JOHN)
    form = {"username": "john_doe", "password": "secure_password123", "scope": "", "client_id": "x"}
    assert (await http.post("/auth/token", data={**form, "grant_type": "password"})).status_code == 200
    assert (await http.post("/auth/token", data={**form, "grant_type": "implicit"})).status_code == 400


@pytest.mark.parametrize(
    "form",
    [
        {"username": "john_doe", "password": "wrong_password123"},
        {"username": "nobody", "password": "secure_password123"},
        {"username": "john_doe", "password": "p" * 100_000},
        {"username": "john_doe", "password": ""},
        {"username": "", "password": "secure_password123"},
        {"username": "john_doe' --", "password": "secure_password123"},
        {"username": "john_doe\x00", "password": "secure_password123"},
    ],
)
async def test_a_login_that_is_wrong_is_401(http: httpx.AsyncClient, form: dict[str, str]) -> None:
    """In the same words, whatever was wrong."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Incorrect username or password"})
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "form",
    [
        "username=john_doe",
        "username=john_doe&password=wrong&password=secure_password123",
        "username=nobody&username=john_doe&password=secure_password123",
        "username=john_doe&password=%ff",
        '{"username": "john_doe", "password": "secure_password123"}',
        "&".join(f"a{index}=b" for index in range(1000)),
        "",
    ],
)
async def test_a_form_that_cannot_be_read_is_400(http: httpx.AsyncClient, form: str) -> None:
    """Also one with a parameter twice (RFC 6749, 3.2)."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post(
        "/auth/token", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body: ")


async def test_refresh_gives_a_token_that_lasts_longer(http: httpx.AsyncClient, clock: Clock) -> None:
    """Step 5 of the guide; the old token ends when it would have ended."""
    old = await log_in(http)
    clock.pass_by(1799)
    answer = await http.post("/auth/refresh", headers=old)
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type"}
    assert answer.headers["cache-control"] == "no-store"
    new = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    clock.pass_by(2)
    assert (await http.get("/users/me", headers=old)).status_code == 401
    assert (await http.get("/users/me", headers=new)).json()["username"] == "john_doe"


async def test_an_expired_token_is_401_everywhere(
    http: httpx.AsyncClient, clock: Clock, model: Model
) -> None:
    """ "Invalid or expired token. Log in again." """
    bearer = await log_in(http)
    clock.pass_by(1801)
    answers = [
        await http.get("/users/me", headers=bearer),
        await http.get("/users/usage", headers=bearer),
        await http.post("/auth/refresh", headers=bearer),
        await http.put("/users/me/token-limit", json={"token_limit": 1}, headers=bearer),
        await http.post("/chat/completions", json=PROMPT, headers=bearer),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert all(answer.json().keys() == {"detail"} for answer in answers)
    assert not model.requests


async def test_a_key_cannot_be_turned_into_a_session(running: Running) -> None:
    """It would outlive the key."""
    bearer = await log_in(running.http)
    _, secret = await running.gate.services.identity.keys.create(1, "laptop")
    as_key = {"Authorization": f"Bearer {secret}"}
    assert (await running.http.post("/auth/refresh", headers=as_key)).status_code == 401
    assert await used(running.http, as_key) == await used(running.http, bearer)


async def test_tokens_that_this_gate_did_not_sign_are_401(
    open_config: OpenGate, running: Running, upstream: str
) -> None:
    """Of another gate, without a signature, signed with another key, or no token at all."""
    bearer = await log_in(running.http)
    good = bearer["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(good, options={"verify_signature": False})
    head = jwt.get_unverified_header(good)
    async with open_config("accounts.toml", at(upstream), store="other.db") as other:
        elsewhere = (await log_in(other.http))["Authorization"].removeprefix("Bearer ")
    forged = [
        elsewhere,
        jwt.encode(claims, None, algorithm="none", headers={"kid": head["kid"]}),
        jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": head["kid"]}),
        jwt.encode({**claims, "username": "admin"}, "k" * 32, algorithm="HS256"),
        good[:-4],
        good.rpartition(".")[0] + ".",
        "x" * 20_000,
        "..",
    ]
    for token in forged:
        answer = await running.http.get("/users/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token
        assert answer.json().keys() == {"detail"}
    assert (await running.http.get("/users/me", headers=bearer)).status_code == 200


async def test_without_a_token_everything_but_the_entrance_is_401(
    http: httpx.AsyncClient, model: Model
) -> None:
    """Nothing reaches the model."""
    answers = [
        await http.get("/users/me"),
        await http.get("/users/usage"),
        await http.post("/auth/refresh"),
        await http.put("/users/me/token-limit", json={"token_limit": 1}),
        await http.post("/chat/completions", json=PROMPT),
    ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert not model.requests
