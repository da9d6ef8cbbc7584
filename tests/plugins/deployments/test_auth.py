"""Users, sessions and API keys, as the guide shows them."""

import asyncio
import re

import httpx
import pytest
from stores import Clock

from .conftest import ADA, API, BOB, key_of, log_in

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


async def test_register_answers_with_the_account(http: httpx.AsyncClient) -> None:
    """The guide's first request; the first user is the admin, as config/bku.toml says."""
    answer = await http.post(f"{API}/auth/register", json=ADA)
    account = answer.json()
    assert answer.status_code == 201
    assert TIME.fullmatch(account.pop("created_at"))
    assert account == {
        "id": 1, "username": "ada", "email": "ada@example.com", "is_active": True, "is_admin": True,
    }  # fmt: skip
    assert not (await http.post(f"{API}/auth/register", json=BOB)).json()["is_admin"]


async def test_of_users_who_register_at_once_one_becomes_admin(http: httpx.AsyncClient) -> None:
    """Whoever comes first."""
    people = [{**ADA, "username": f"user{n}", "email": f"user{n}@example.com"} for n in range(6)]
    answers = await asyncio.gather(*(http.post(f"{API}/auth/register", json=each) for each in people))
    assert sum(answer.json()["is_admin"] for answer in answers) == 1


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 409),
        ({"username": "ADA2"}, 409),  # the address is taken
        ({"username": "x", "email": "not an address"}, 400),
        ({"username": "x", "email": "x@example.com", "password": "short"}, 400),
        ({"username": "x\n", "email": "x@example.com"}, 400),
    ],
)
async def test_a_registration_that_cannot_be_is_refused(
    http: httpx.AsyncClient, changed: dict[str, str], status: int
) -> None:
    """409 for what is taken, 400 for what breaks a rule."""
    await http.post(f"{API}/auth/register", json=ADA)
    answer = await http.post(f"{API}/auth/register", json={**ADA, **changed})
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])


async def test_login_answers_with_a_bearer_token(http: httpx.AsyncClient) -> None:
    """As the guide shows it, and it is the token of who logged in."""
    bearer = await log_in(http, ADA)
    me = await http.get(f"{API}/auth/me", headers=bearer)
    assert me.json()["username"] == "ada"
    answer = await http.post(f"{API}/auth/login", json={"username": "ada", "password": ADA["password"]})
    assert answer.json().keys() == {"access_token", "token_type"}
    assert answer.json()["token_type"] == "bearer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["ada", "nobody", "' OR 1=1 --", 'a"; DROP TABLE users; --'])
async def test_a_wrong_password_is_401_whoever_it_is(http: httpx.AsyncClient, name: str) -> None:
    """In the same words."""
    await http.post(f"{API}/auth/register", json=ADA)
    answer = await http.post(f"{API}/auth/login", json={"username": name, "password": "wrong-password"})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Incorrect username or password"})


async def test_a_key_is_created_as_the_guide_shows(http: httpx.AsyncClient, user: dict[str, str]) -> None:
    """It is shown whole once, and expires when it was asked to, to the second."""
    body = {"name": "Production API", "expires_in_days": 365}
    answer = await http.post(f"{API}/auth/api-keys", headers=user, json=body)
    key = answer.json()
    assert answer.status_code == 201
    assert key.keys() == {"id", "name", "key", "is_active", "expires_at", "created_at"}
    assert (key["name"], key["is_active"]) == ("Production API", True)
    assert re.fullmatch(r"bku_[0-9a-f]{64}", key["key"])
    assert (key["created_at"], key["expires_at"]) == ("2027-01-15T08:00:00", "2028-01-15T08:00:00")
    [listed] = (await http.get(f"{API}/auth/api-keys", headers=user)).json()
    assert listed["id"] == key["id"]
    assert listed["key"] == f"bku_...{key['key'][-4:]}"


async def test_a_key_without_days_lasts(http: httpx.AsyncClient, user: dict[str, str], clock: Clock) -> None:
    """`expires_at` is null, and a century later it is still good."""
    key = await key_of(http, user)
    clock.pass_by(100 * 365 * 86_400)
    assert (await http.get(f"{API}/auth/me", headers={"X-API-Key": key})).status_code == 200


async def test_a_key_ends_when_its_days_are_over(
    http: httpx.AsyncClient, user: dict[str, str], clock: Clock
) -> None:
    """Not a second later."""
    key = {"X-API-Key": await key_of(http, user, expires_in_days=1)}
    clock.pass_by(86_399)
    assert (await http.get(f"{API}/deployments", headers=key)).status_code == 200
    clock.pass_by(1)
    assert (await http.get(f"{API}/deployments", headers=key)).status_code == 401


@pytest.mark.parametrize("days", [0, -1, 36_501, 1.5, "365", True, 10**30])
async def test_days_are_a_number_that_makes_sense(
    http: httpx.AsyncClient, user: dict[str, str], days: object
) -> None:
    """From one day to a century."""
    answer = await http.post(
        f"{API}/auth/api-keys", headers=user, json={"name": "k", "expires_in_days": days}
    )
    assert answer.status_code == 400
    assert "expires_in_days" in answer.json()["detail"]


async def test_a_deleted_key_is_over_at_once(http: httpx.AsyncClient, user: dict[str, str]) -> None:
    """And is no longer listed; deleting it again finds nothing."""
    key = {"X-API-Key": await key_of(http, user)}
    assert (await http.get(f"{API}/deployments", headers=key)).status_code == 200
    [listed] = (await http.get(f"{API}/auth/api-keys", headers=user)).json()
    url = f"{API}/auth/api-keys/{listed['id']}"
    assert (await http.delete(url, headers=user)).status_code == 204
    assert (await http.get(f"{API}/deployments", headers=key)).status_code == 401
    assert (await http.get(f"{API}/auth/api-keys", headers=user)).json() == []
    assert (await http.delete(url, headers=user)).status_code == 404


async def test_keys_of_others_are_not_there(
    http: httpx.AsyncClient, admin: dict[str, str], user: dict[str, str]
) -> None:
    """Neither to see nor to delete, not even for an admin."""
    await key_of(http, user)
    assert (await http.get(f"{API}/auth/api-keys", headers=admin)).json() == []
    assert (await http.delete(f"{API}/auth/api-keys/1", headers=admin)).status_code == 404


async def test_a_key_makes_no_keys(http: httpx.AsyncClient, user: dict[str, str]) -> None:
    """One that is lost and deleted must not live on in others."""
    bearer = {"Authorization": f"Bearer {await key_of(http, user)}"}
    answer = await http.post(f"{API}/auth/api-keys", headers=bearer, json={"name": "k"})
    assert answer.status_code == 403


@pytest.mark.parametrize("number", ["0", "999", "x", "-1", "1.0", "9" * 30, "²"])
async def test_an_id_that_nothing_has_is_404(
    http: httpx.AsyncClient, user: dict[str, str], number: str
) -> None:
    """Also one that is no number, or one that no column holds."""
    assert (await http.delete(f"{API}/auth/api-keys/{number}", headers=user)).status_code == 404
