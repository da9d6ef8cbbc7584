"""The gateway: four ports, rate limit headers, errors in the guide's words, and the settings."""

from typing import Any

import pytest

from llmgate.errors import ConfigError
from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN, Running

STATUS = "/api/v1/tokens/status"
QUOTA = "/api/v1/tokens/quota"


async def test_the_status_is_public(running: Running) -> None:
    answer = await running.http.get(STATUS)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("version")
    assert body == {"service": "leaky-tokens", "status": "UP", "timestamp": "2026-02-05T12:00:00Z"}


async def test_a_bad_credential_is_refused_even_there(running: Running) -> None:
    answer = await running.http.get(STATUS, headers={"X-Api-Key": "leaky_x_y"})
    assert answer.status_code == 401
    assert answer.json().keys() == {"message", "timestamp"}


async def test_every_operation_is_on_all_four_ports(running: Running) -> None:
    assert sorted(running.ports) == [8080, 8081, 8082, 8083]
    account = await running.account()
    for url in running.ports.values():
        for path in (STATUS, "/oauth2/jwks", f"{QUOTA}?userId={account.uuid}&provider=openai"):
            answer = await running.http.get(url + path, headers=account.bearer)
            assert answer.status_code == 200


async def test_answers_tell_how_the_rate_limit_stands(running: Running) -> None:
    """120 requests in a minute at the gateway, by key or session; its services' own ports are not counted there."""
    account = await running.account()
    _, key = await running.services.identity.keys.create(account.id, "a")
    first = await running.http.get(STATUS, headers=account.bearer)
    behind = await running.http.get(running.ports[8083] + STATUS, headers=account.bearer)
    second = await running.http.get(STATUS, headers={"X-Api-Key": key})
    assert [answer.headers["x-ratelimit-limit"] for answer in (first, second)] == ["120", "120"]
    remaining = [int(answer.headers["x-ratelimit-remaining"]) for answer in (first, second)]
    assert remaining == [119, 118]
    assert behind.headers["x-ratelimit-limit"] == "600", "of an address"
    assert 0 < int(first.headers["x-ratelimit-reset"]) - running.clock.now <= 60


async def test_over_the_rate_limit_a_client_learns_when_to_come_back(open_gate: OpenLeakyGate) -> None:
    """In `waitSeconds`, where the guide's own client looks for it."""

    def few(document: dict[str, Any]) -> None:
        document["limits"][0]["requests"] = 2

    async with open_gate(few) as running:
        account = await running.account()
        answers = [await running.http.get(STATUS, headers=account.bearer) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        body = answers[2].json()
        assert body.keys() == {"message", "timestamp", "waitSeconds"}
        assert answers[2].headers["retry-after"] == str(body["waitSeconds"])


@pytest.mark.parametrize(
    "query", ["", "?provider=openai", "?userId=x&provider=openai", "?userId=%s", "?userId=%s&provider=no"]
)
async def test_a_quota_is_asked_for_by_a_uuid_and_a_provider(running: Running, query: str) -> None:
    account = await running.account()
    answer = await running.http.get(QUOTA + query.replace("%s", account.uuid), headers=account.bearer)
    assert answer.status_code == 400


async def test_quotas_are_the_users_own(running: Running) -> None:
    account, stranger = await running.account(), await running.account("stranger")
    organization = await running.organization(account, tokens=5000)
    mine = {"userId": account.uuid, "provider": "openai"}
    ours = {"orgId": organization, "provider": "openai"}
    for path, query in ((QUOTA, mine), (f"{QUOTA}/org", ours)):
        statuses = [
            (await running.http.get(path, params=query, headers=headers)).status_code
            for headers in (account.bearer, stranger.bearer, {})
        ]
        assert statuses == [200, 403, 401]


async def test_an_organizations_quota(running: Running) -> None:
    """The guide's answer, key by key; 404 where there is none."""
    account = await running.account()
    organization = await running.organization(account, tokens=5000)
    query = {"orgId": organization, "provider": "openai"}
    answer = await running.http.get(f"{QUOTA}/org", params=query, headers=account.bearer)
    assert answer.json() == {
        "orgId": organization,
        "provider": "openai",
        "totalTokens": 5000,
        "remainingTokens": 5000,
        "updatedAt": "2026-02-05T12:00:00Z",
    }
    query["provider"] = "qwen"
    none = await running.http.get(f"{QUOTA}/org", params=query, headers=account.bearer)
    assert none.status_code == 404


async def test_administrators_set_quotas(running: Running) -> None:
    account, admin = await running.account(), await running.account("root", admin=True)
    organization = await running.organization(account)
    body = {"userId": account.uuid, "provider": "openai", "totalTokens": 77}
    assert (await running.http.put(QUOTA, json=body, headers=account.bearer)).status_code == 403
    assert (await running.http.put(QUOTA, json=body, headers=admin.bearer)).json()["totalTokens"] == 77
    assert await running.left(account) == 77
    body = {"orgId": organization, "provider": "openai", "totalTokens": 500}
    answer = await running.http.put(f"{QUOTA}/org", json=body, headers=admin.bearer)
    assert answer.json()["remainingTokens"] == 500


async def test_a_quota_that_starts_over_says_when(open_gate: OpenLeakyGate) -> None:
    """A daily one from gate.toml, as it is tighter than what the user starts with."""

    def daily(document: dict[str, Any]) -> None:
        document["quotas"] = [{"per": "user", "tokens": 500, "window": "day"}]

    async with open_gate(daily) as running:
        account = await running.account()
        quota = await running.quota(account)
        assert (quota["totalTokens"], quota["resetTime"]) == (500, "2026-02-06T00:00:00Z")


def settings(**changes: object) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN] |= changes

    return change


def hs256(document: dict[str, Any]) -> None:
    document["sessions"]["algorithm"] = "HS256"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (settings(providers={}), "there is none"),
        (settings(providers={"claude": {"model": "m"}}), 'no upstream "claude"'),
        (settings(payment="stripe"), "go together"),
        (settings(stripe={"api_key": "sk", "price": 1}), "go together"),
        (settings(redis_stream="tokens"), "there is no Redis"),
        (settings(webhook={"url": "http://127.0.0.1:1", "secret": "whsec_???"}), "base64"),
        (settings(bucket_leak=0), "bucket_leak"),
        (settings(buckets=1), "buckets"),
        (hs256, "RS256"),
    ],
)
async def test_settings_that_do_not_fit_are_named(
    open_gate: OpenLeakyGate, change: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        async with open_gate(change):
            pass
