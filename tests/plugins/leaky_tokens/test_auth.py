"""Registration, login, API keys and public keys, as the guide has them."""

import asyncio
from typing import Any

import jwt
import pytest
from stores import Clock

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN, Account, Running

USER = {"username": "myuser", "email": "myuser@example.com", "password": "securepassword123"}
KEYS = "/api/v1/auth/api-keys"
STATUS = "/api/v1/tokens/status"


async def new_key(running: Running, account: Account, **fields: object) -> Any:
    body = {"userId": account.uuid, "name": "production-api-key", "expiresAt": "2026-12-31T23:59:59Z"}
    answer = await running.http.post(KEYS, json={**body, **fields}, headers=account.bearer)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_registering_answers_with_the_user_and_a_session(running: Running) -> None:
    answer = await running.http.post("/api/v1/auth/register", json=USER)
    assert answer.status_code == 201
    body = answer.json()
    token, user_id = body.pop("token"), body.pop("userId")
    assert body == {
        "username": "myuser",
        "email": "myuser@example.com",
        "roles": ["USER"],
        "createdAt": "2026-02-05T12:00:00Z",
    }
    assert answer.headers["cache-control"] == "no-store"
    user = await running.services.identity.users.by_uuid(user_id)
    assert (await running.services.identity.sessions.verify(token)).user_id == user.id


async def test_a_new_user_has_the_starting_tokens_of_each_provider(running: Running) -> None:
    account = await running.account()
    for provider in ("openai", "qwen", "gemini"):
        assert (await running.quota(account, provider))["totalTokens"] == 1000


@pytest.mark.parametrize(
    "fields", [{"email": "other@example.com"}, {"username": "other"}, {"email": "MYUSER@example.com"}]
)
async def test_a_taken_name_or_address_is_400(running: Running, fields: dict[str, str]) -> None:
    await running.http.post("/api/v1/auth/register", json=USER)
    answer = await running.http.post("/api/v1/auth/register", json={**USER, **fields})
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "timestamp"}


async def test_of_concurrent_registrations_one_wins(running: Running) -> None:
    answers = await asyncio.gather(*(running.http.post("/api/v1/auth/register", json=USER) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 5


@pytest.mark.parametrize(
    "fields",
    [{"password": "short"}, {"email": "nobody"}, {"username": ""}, {"username": "a\x00b"}, {"email": None}],
)
async def test_what_breaks_the_rules_is_400(running: Running, fields: dict[str, Any]) -> None:
    answer = await running.http.post("/api/v1/auth/register", json={**USER, **fields})
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "timestamp"}


async def test_registration_can_be_closed(open_gate: OpenLeakyGate) -> None:
    def closed(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN]["registration"] = "closed"

    async with open_gate(closed) as running:
        assert (await running.http.post("/api/v1/auth/register", json=USER)).status_code == 403


async def test_login_says_when_the_session_ends(running: Running) -> None:
    registered = (await running.http.post("/api/v1/auth/register", json=USER)).json()
    answer = await running.http.post(
        "/api/v1/auth/login", json={"username": "myuser", "password": "securepassword123"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("token").count(".") == 2
    del registered["token"]
    assert body == {**registered, "expiresAt": "2026-02-05T13:00:00Z"}


@pytest.mark.parametrize(("name", "password"), [("myuser", "wrong"), ("nobody", "securepassword123")])
async def test_a_bad_login_is_401_in_the_same_words(running: Running, name: str, password: str) -> None:
    await running.http.post("/api/v1/auth/register", json=USER)
    answer = await running.http.post("/api/v1/auth/login", json={"username": name, "password": password})
    assert answer.status_code == 401
    assert answer.json() == {
        "message": "Incorrect username or password",
        "timestamp": "2026-02-05T12:00:00Z",
    }


async def test_an_administrator_has_the_role_in_the_guides_letters(running: Running) -> None:
    await running.account("root", admin=True)
    login = {"username": "root", "password": "securepassword123"}
    assert (await running.http.post("/api/v1/auth/login", json=login)).json()["roles"] == ["USER", "ADMIN"]


# --- API keys


async def test_a_key_is_shown_once_with_its_users_id_in_it(running: Running) -> None:
    account = await running.account()
    key = await new_key(running, account)
    raw, key_id = key.pop("rawKey"), key.pop("id")
    assert raw.startswith(f"leaky_{account.uuid}_")
    assert set(raw.removeprefix(f"leaky_{account.uuid}_")) <= set("0123456789abcdef")
    assert key == {
        "userId": account.uuid,
        "name": "production-api-key",
        "createdAt": "2026-02-05T12:00:00Z",
        "expiresAt": "2026-12-31T23:59:59Z",
    }
    query = {"userId": account.uuid}
    listed = await running.http.get(KEYS, params=query, headers=account.bearer)
    del key["userId"]
    assert listed.json() == [{"id": key_id, **key}]
    assert raw not in listed.text


async def test_a_key_opens_what_a_session_opens(running: Running) -> None:
    account = await running.account()
    raw = (await new_key(running, account))["rawKey"]
    query = {"userId": account.uuid, "provider": "openai"}
    for headers in ({"X-Api-Key": raw}, {"Authorization": f"Bearer {raw}"}):
        answer = await running.http.get("/api/v1/tokens/quota", params=query, headers=headers)
        assert answer.json() == await running.quota(account)


async def test_a_key_says_what_it_stands_for(running: Running) -> None:
    account = await running.account()
    raw = (await new_key(running, account))["rawKey"]
    answer = await running.http.get(f"{KEYS}/validate", headers={"X-Api-Key": raw})
    assert answer.json() == {
        "userId": account.uuid,
        "name": "production-api-key",
        "expiresAt": "2026-12-31T23:59:59Z",
        "roles": ["USER"],
    }


async def test_only_a_key_can_be_validated(running: Running) -> None:
    account = await running.account()
    session = account.bearer["Authorization"].removeprefix("Bearer ")
    for headers in ({}, account.bearer, {"X-Api-Key": "leaky_nobody"}, {"X-Api-Key": session}):
        assert (await running.http.get(f"{KEYS}/validate", headers=headers)).status_code == 401


async def test_a_key_that_expires_is_refused_from_then_on(running: Running, clock: Clock) -> None:
    account = await running.account()
    key = {"X-Api-Key": (await new_key(running, account, expiresAt="2026-02-05T12:01:00Z"))["rawKey"]}
    assert (await running.http.get(STATUS, headers=key)).status_code == 200
    clock.pass_by(60)
    assert (await running.http.get(STATUS, headers=key)).status_code == 401


async def test_a_key_need_not_expire(running: Running) -> None:
    account = await running.account()
    assert (await new_key(running, account, expiresAt=None))["expiresAt"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2026-12-31T23:59:59"},
        {"expiresAt": "soon"},
        {"name": ""},
        {"userId": "me"},
    ],
)
async def test_a_key_that_cannot_be_is_400(running: Running, fields: dict[str, str]) -> None:
    """In the past, without a time zone, without a name, of nobody."""
    account = await running.account()
    body = {"userId": account.uuid, "name": "a", **fields}
    assert (await running.http.post(KEYS, json=body, headers=account.bearer)).status_code == 400


async def test_a_revoked_key_is_refused_at_once(running: Running) -> None:
    """The guide's verification: 401 even where no credential is needed."""
    account = await running.account()
    key = await new_key(running, account)
    header = {"X-Api-Key": key["rawKey"]}
    assert (await running.http.get(STATUS, headers=header)).status_code == 200
    query = {"userId": account.uuid, "apiKeyId": key["id"]}
    gone = await running.http.delete(KEYS, params=query, headers=account.bearer)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await running.http.get(STATUS, headers=header)).status_code == 401
    assert (await running.http.get(KEYS, params=query, headers=account.bearer)).status_code == 200
    assert (await running.http.delete(KEYS, params=query, headers=account.bearer)).status_code == 404


async def test_other_peoples_keys_are_403(running: Running) -> None:
    account, stranger = await running.account(), await running.account("stranger")
    key = await new_key(running, account)
    mine = {"userId": account.uuid}
    http, bearer = running.http, stranger.bearer
    answers = [
        await http.get(KEYS, params=mine, headers=bearer),
        await http.post(KEYS, json={**mine, "name": "a"}, headers=bearer),
        await http.delete(KEYS, params={**mine, "apiKeyId": key["id"]}, headers=bearer),
        await http.delete(KEYS, params={"userId": stranger.uuid, "apiKeyId": key["id"]}, headers=bearer),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert (await http.get(STATUS, headers={"X-Api-Key": key["rawKey"]})).status_code == 200


async def test_an_administrator_manages_keys_of_others(running: Running) -> None:
    account, admin = await running.account(), await running.account("root", admin=True)
    key = await new_key(running, admin, userId=account.uuid)
    assert key["userId"] == account.uuid
    query = {"userId": account.uuid, "apiKeyId": key["id"]}
    assert (await running.http.delete(KEYS, params=query, headers=admin.bearer)).status_code == 204


@pytest.mark.parametrize("query", [{}, {"userId": "x"}, {"userId": "' OR ''='"}])
async def test_keys_are_asked_for_by_a_users_id(running: Running, query: dict[str, str]) -> None:
    account = await running.account()
    assert (await running.http.get(KEYS, params=query, headers=account.bearer)).status_code == 400


# --- public keys


async def test_anybody_can_verify_a_session_with_the_public_keys(running: Running) -> None:
    """RS256, by the key that the token names."""
    account = await running.account()
    token = account.bearer["Authorization"].removeprefix("Bearer ")
    keys = jwt.PyJWKSet.from_dict((await running.http.get("/oauth2/jwks")).json())
    header = jwt.get_unverified_header(token)
    assert header["alg"] == "RS256"
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, keys[header["kid"]], algorithms=["RS256"], audience="llmgate", options=options)
    assert claims["sub"] == account.uuid


async def test_after_a_rotation_old_sessions_hold_until_they_expire(running: Running, clock: Clock) -> None:
    admin, account = await running.account("root", admin=True), await running.account()
    rotated = await running.http.post("/oauth2/jwks/rotate", headers=admin.bearer)
    assert len(rotated.json()["keys"]) == 2
    assert (await running.quota(account))["totalTokens"] == 1000
    login = {"username": "myuser", "password": "securepassword123"}
    token = (await running.http.post("/api/v1/auth/login", json=login)).json()["token"]
    old = account.bearer["Authorization"].removeprefix("Bearer ")
    assert jwt.get_unverified_header(token)["kid"] != jwt.get_unverified_header(old)["kid"]
    clock.pass_by(3600)
    query = {"userId": account.uuid, "provider": "openai"}
    expired = await running.http.get("/api/v1/tokens/quota", params=query, headers=account.bearer)
    assert expired.status_code == 401
    assert len((await running.http.get("/oauth2/jwks")).json()["keys"]) == 1


async def test_only_administrators_rotate(running: Running) -> None:
    account = await running.account()
    assert (await running.http.post("/oauth2/jwks/rotate", headers=account.bearer)).status_code == 403
    assert (await running.http.post("/oauth2/jwks/rotate")).status_code == 401
