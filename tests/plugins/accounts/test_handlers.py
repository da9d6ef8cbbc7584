"""Step 1 of the guide: who gets an account, and what is refused."""

import asyncio

import httpx
import pytest

from plugins.accounts import JOHN, at, http, log_in, running, upstream, used
from plugins.conftest import OpenGate

__all__ = ["http", "running", "upstream"]


async def test_register_answers_with_the_account(http: httpx.AsyncClient) -> None:
    """Step 1 of the guide."""
    answer = await http.post("/auth/register", json=JOHN)
    assert answer.status_code == 200
    assert answer.json() == {"id": 1, "username": "john_doe", "token_limit": 10000, "tokens_used": 0}


async def test_register_without_a_limit_gets_the_default(http: httpx.AsyncClient) -> None:
    """10,000 tokens, as the guide says."""
    answer = await http.post("/auth/register", json={"username": "jane", "password": "secure_password123"})
    assert answer.json()["token_limit"] == 10_000


async def test_a_taken_username_is_400(http: httpx.AsyncClient) -> None:
    """The core says 409; the guide wins."""
    await http.post("/auth/register", json=JOHN)
    answer = await http.post("/auth/register", json=JOHN)
    assert (answer.status_code, answer.json()) == (400, {"detail": "The username is taken."})


async def test_of_concurrent_registrations_of_a_name_one_wins(http: httpx.AsyncClient) -> None:
    """And the others learn that the name is taken."""
    limits = range(1, 7)
    answers = await asyncio.gather(
        *(http.post("/auth/register", json={**JOHN, "token_limit": limit}) for limit in limits)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    form = {"username": JOHN["username"], "password": JOHN["password"]}
    token = (await http.post("/auth/token", data=form)).json()["access_token"]
    assert (await used(http, {"Authorization": f"Bearer {token}"}))["token_limit"] == won["token_limit"]


@pytest.mark.parametrize(
    ("password", "status"), [("a" * 72, 200), ("a" * 73, 400), ("é" * 36, 200), ("é" * 37, 400)]
)
async def test_a_password_has_at_most_72_bytes(http: httpx.AsyncClient, password: str, status: int) -> None:
    """Bytes, not characters."""
    answer = await http.post("/auth/register", json={"username": "jane", "password": password})
    assert answer.status_code == status
    if status == 400:
        assert "72 bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('{"username": "jane"}', "password"),
        ('{"password": "secure_password123"}', "username"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": -1}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": true}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": 1.5}', "$.token_limit"),
        ('{"username": "jane", "password": "secure_password123", "token_limit": "10"}', "$.token_limit"),
        (
            f'{{"username": "jane", "password": "secure_password123", "token_limit": {10**30}}}',
            "$.token_limit",
        ),
        ('{"username": "jane", "password": "secure_password123", "token_limit": NaN}', "not JSON"),
        ('{"username": "jane", "username": "joan", "password": "secure_password123"}', "body.username"),
        ('{"username": "", "password": "secure_password123"}', "username"),
        ('{"username": " jane", "password": "secure_password123"}', "username"),
        ('{"username": "ja\\u0000ne", "password": "secure_password123"}', "username"),
        ('{"username": "ja\\u202ene", "password": "secure_password123"}', "username"),
        (f'{{"username": "{"j" * 256}", "password": "secure_password123"}}', "username"),
        ('{"username": "jane", "password": ""}', "password"),
        ('{"username": ["jane"], "password": "secure_password123"}', "$.username"),
        ("[" * 100_000, "body"),
        ("[]", "JSON object"),
        ("username=jane&password=secure_password123", "not JSON"),
        ("", "not JSON"),
    ],
)
async def test_a_registration_that_breaks_a_rule_is_400(
    http: httpx.AsyncClient, body: str, place: str
) -> None:
    """The detail names the place."""
    answer = await http.post(
        "/auth/register", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert place in answer.json()["detail"]


async def test_bytes_that_are_not_text_are_400(http: httpx.AsyncClient) -> None:
    """No server error, whatever the bytes are."""
    for body in (b'{"username": "\xff", "password": "secure_password123"}', b"\x00" * 100, b"\x1f\x8b\x08"):
        answer = await http.post("/auth/register", content=body)
        assert answer.status_code == 400


async def test_a_huge_body_is_413(http: httpx.AsyncClient) -> None:
    """Registration needs no megabytes."""
    answer = await http.post("/auth/register", json={**JOHN, "username": "j" * 2_000_000})
    assert answer.status_code == 413
    assert "1048576 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["x'; DROP TABLE users; --", '" OR 1=1 --', "%", "_", "${jndi:x}", "Ωμέγα"])
async def test_metacharacters_are_but_letters_of_a_name(http: httpx.AsyncClient, name: str) -> None:
    """Such a name registers and logs in, and logs in nobody else."""
    await http.post("/auth/register", json=JOHN)
    bearer = await log_in(http, {"username": name, "password": "another_password"})
    assert (await http.get("/users/me", headers=bearer)).json()["username"] == name.lower()
    form = {"username": name, "password": JOHN["password"]}
    assert (await http.post("/auth/token", data=form)).status_code == 401


async def test_registration_can_be_closed(open_config: OpenGate, upstream: str) -> None:
    """Then nobody gets in but by an administrator."""
    async with open_config("accounts.toml", at(upstream, registration="closed")) as running:
        answer = await running.http.post("/auth/register", json=JOHN)
        assert answer.status_code == 403
        assert "administrator" in answer.json()["detail"]
        form = {"username": JOHN["username"], "password": JOHN["password"]}
        assert (await running.http.post("/auth/token", data=form)).status_code == 401


async def test_nobody_gets_more_than_the_operator_allows(open_config: OpenGate, upstream: str) -> None:
    """`max_token_limit` bounds what a registration may ask for, and what users may raise themselves to."""
    async with open_config("accounts.toml", at(upstream, max_token_limit=20_000, may_raise=True)) as running:
        http = running.http
        answer = await http.post("/auth/register", json={**JOHN, "token_limit": 20_001})
        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "The token limit can be at most 20000."},
        )
        bearer = await log_in(http)
        for limit, status in ((20_000, 200), (20_001, 403)):
            body = {"token_limit": limit}
            answer = await http.put("/users/me/token-limit", json=body, headers=bearer)
            assert answer.status_code == status
        assert (await used(http, bearer))["token_limit"] == 20_000
