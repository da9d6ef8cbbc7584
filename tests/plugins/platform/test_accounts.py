"""Users, their keys, and how many requests a day each key has."""

import asyncio
from typing import Any

import pytest
from stores import Clock

from .engines import FakeVllm
from .gate import ADA, API, BOB, PLUGIN, Caller, Document, OpenPlatform, PlatformGate

DAY = 86_400


async def test_who_registers_gets_a_key(platform: PlatformGate) -> None:
    answer = await platform.http.post(f"{API}/auth/register", json=ADA)
    assert answer.status_code == 201
    body = answer.json()
    assert list(body) == ["user_id", "username", "api_key", "message"]
    assert (body["user_id"], body["username"], body["message"]) == (1, "ada", "User registered successfully")
    assert body["api_key"].startswith("llm_")
    (key,) = await Caller(platform.http, body["api_key"]).keys()
    assert key == {
        "id": 1,
        "key_name": "Default Key",
        "created_at": "2027-01-15T08:00:00.000000",
        "last_used": None,
        "usage_count": 0,
        "total_usage": 0,
        "rate_limit": 1000,
    }


@pytest.mark.parametrize("same", ["username", "email"])
async def test_a_name_or_address_that_is_taken(platform: PlatformGate, same: str) -> None:
    await platform.register()
    answer = await platform.http.post(f"{API}/auth/register", json={**BOB, same: ADA[same]})
    assert (answer.status_code, answer.json()) == (400, {"error": "User already exists"})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "JSON data required"),
        (b"{}", "JSON data required"),
        (b"[1]", "JSON data required"),
        (b"no", "JSON data required"),
        (b'{"username": "a"}', "Missing required field: email"),
        (b'{"email": "a@b.c"}', "Missing required field: username"),
        (
            b'{"username": 1, "email": "a", "password": "b"}',
            "Invalid value for username: expected str, got int",
        ),
        (
            b'{"username": "ada", "email": "no", "password": "secure-password-1"}',
            "Invalid value for email: ",
        ),
        (
            b'{"username": "ada", "email": "a@example.com", "password": "short"}',
            "Invalid value for password: ",
        ),
    ],
)
async def test_what_is_wrong_with_a_registration_is_told(
    platform: PlatformGate, body: bytes, error: str
) -> None:
    """Whatever its Content-Type says."""
    answer = await platform.http.post(
        f"{API}/auth/register", content=body, headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(error)


async def test_registration_can_be_closed(open_platform: OpenPlatform) -> None:
    def closed(document: Document) -> None:
        document["plugins"][PLUGIN]["registration"] = "closed"

    async with open_platform(closed) as gate:
        answer = await gate.http.post(f"{API}/auth/register", json=ADA)
        assert answer.status_code == 403
        assert "closed" in answer.json()["error"]


async def test_credentials(platform: PlatformGate) -> None:
    """By X-API-Key or Bearer; what is there and bad is never anonymous."""
    ada = await platform.register()
    http, path = platform.http, f"{API}/auth/keys"
    missing, bad = await http.get(path), await http.get(path, headers={"X-API-Key": "llm_no"})
    assert (missing.status_code, missing.json()) == (401, {"error": "API key required"})
    assert (bad.status_code, bad.json()) == (401, {"error": "Invalid API key"})
    assert (await http.get(path, headers={"Authorization": f"Bearer {ada.key}"})).status_code == 200
    bare = await http.get(path, headers={"Authorization": ada.key})
    assert (bare.status_code, bare.json()) == (401, {"error": "Invalid API key"})


async def test_keys_are_made_listed_and_ended(platform: PlatformGate) -> None:
    ada = await platform.register()
    made = await ada.post("/auth/keys", {"key_name": "Production Key", "rate_limit": 5000})
    assert made.status_code == 201
    assert list(made.json()) == ["id", "key_name", "key_value", "rate_limit", "message"]
    assert made.json()["message"] == "API key created successfully"
    production = Caller(platform.http, made.json()["key_value"])
    assert [key["key_name"] for key in await production.keys()] == ["Default Key", "Production Key"]
    assert [key["rate_limit"] for key in await ada.keys()] == [1000, 5000]
    ended = await ada.delete("/auth/keys/2")
    assert (ended.status_code, ended.json()) == (200, {"message": "API key deactivated successfully"})
    assert (await production.get("/auth/keys")).json() == {"error": "Invalid API key"}
    assert len(await ada.keys()) == 1


async def test_only_ones_own_keys_can_be_ended(platform: PlatformGate) -> None:
    ada, bob = await platform.register(), await platform.register(BOB)
    for path in ("/auth/keys/1", "/auth/keys/99", "/auth/keys/0", "/auth/keys/abc"):
        answer = await bob.delete(path)
        assert answer.status_code == 404
        expected = "API key not found" if path[-1] in "19" else "Resource not found"
        assert answer.json() == {"error": expected}
    await ada.delete("/auth/keys/1")
    assert (await bob.delete("/auth/keys/1")).json() == {"error": "API key not found"}


async def test_what_a_key_may_give_itself_is_bounded(open_platform: OpenPlatform) -> None:
    def bounds(document: Document) -> None:
        document["plugins"][PLUGIN] |= {"max_keys": 2, "max_rate_limit": 2000}

    async with open_platform(bounds) as gate:
        ada = await gate.register()
        too_many = await ada.post("/auth/keys", {"rate_limit": 2001})
        assert too_many.json() == {"error": "Invalid value for rate_limit: at most 2000"}
        zero = await ada.post("/auth/keys", {"rate_limit": 0})
        assert zero.json() == {"error": "Invalid value for rate_limit: expected int >= 1"}
        assert (await ada.post("/auth/keys", {})).status_code == 201
        assert (await ada.post("/auth/keys", {})).json() == {"error": "Too many API keys: at most 2"}


async def limited(gate: PlatformGate, requests: int) -> Caller:
    ada = await gate.register()
    made = await ada.post("/auth/keys", {"key_name": "few", "rate_limit": requests})
    return Caller(gate.http, made.json()["key_value"])


async def test_a_days_requests_are_exact_under_load(platform: PlatformGate, engine: FakeVllm) -> None:
    few = await limited(platform, 10)
    answers = await asyncio.gather(*(few.generate() for _ in range(40)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 10 + [429] * 30
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json() == {"error": "Rate limit exceeded"}
    assert "retry-after" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    assert len(engine.completions) == 10
    key = next(key for key in await few.keys() if key["key_name"] == "few")
    assert (key["usage_count"], key["total_usage"], key["rate_limit"]) == (10, 10, 10)


async def test_the_day_is_over_at_midnight_utc(platform: PlatformGate, clock: Clock) -> None:
    few = await limited(platform, 1)
    assert (await few.generate()).status_code == 200
    assert (await few.generate()).status_code == 429
    clock.now += DAY - clock.now % DAY
    assert (await few.generate()).status_code == 200
    key = next(key for key in await few.keys() if key["key_name"] == "few")
    assert (key["usage_count"], key["total_usage"]) == (1, 2)


async def test_answers_say_what_is_left_of_the_day(platform: PlatformGate, clock: Clock) -> None:
    few = await limited(platform, 5)
    headers = (await few.generate()).headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("5", "4")
    assert int(headers["x-ratelimit-reset"]) == clock.now - clock.now % DAY + DAY
    made = await few.post("/auth/keys", {"key_name": "more"})
    assert made.headers["x-ratelimit-remaining"] == "3"
    for _ in range(3):
        await few.generate()
    for refused in (await few.generate(), await few.post("/auth/keys", {"key_name": "one more"})):
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert refused.headers["x-ratelimit-reset"] == headers["x-ratelimit-reset"]


async def test_what_is_refused_or_fails_is_free(platform: PlatformGate, engine: FakeVllm) -> None:
    few = await limited(platform, 5)
    assert (await few.generate(prompt="")).status_code == 400
    assert (await few.generate(99)).status_code == 404
    assert (await few.post("/training", {"model_id": 1})).status_code == 400
    engine.status = 500
    assert (await few.generate()).status_code == 502
    key = next(key for key in await few.keys() if key["key_name"] == "few")
    assert (key["usage_count"], key["total_usage"]) == (0, 0)


async def test_who_has_spent_a_key_can_see_and_end_it(platform: PlatformGate) -> None:
    """Every request that does something counts; looking and ending do not."""
    few = await limited(platform, 2)
    assert (
        await few.post("/models", {"name": "m", "base_model": "HuggingFaceTB/SmolLM2-135M"})
    ).status_code == 201
    job: dict[str, Any] = {"model_id": 1, "job_name": "j", "dataset_id": 1}
    assert (await few.post("/training/coding", job)).status_code == 201
    assert (await few.post("/training/coding", job)).json() == {"error": "Rate limit exceeded"}
    assert (await few.post("/auth/keys", {})).status_code == 429
    key = next(key for key in await few.keys() if key["key_name"] == "few")
    assert key["usage_count"] == 2
    assert (await few.delete(f"/auth/keys/{key['id']}")).status_code == 200


async def test_a_users_own_quota_bounds_all_keys(open_platform: OpenPlatform) -> None:
    def quota(document: Document) -> None:
        document["quotas"] = [{"per": "user", "requests": 2, "window": "day"}]

    async with open_platform(quota) as gate:
        ada = await gate.register()
        assert [(await ada.generate()).status_code for _ in range(3)] == [200, 200, 429]
        assert (await ada.generate()).json() == {"error": "Rate limit exceeded"}
