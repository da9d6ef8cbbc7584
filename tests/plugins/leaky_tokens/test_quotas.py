"""Quotas of users and organizations, provider by provider."""

from typing import Any

import pytest

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import Running

QUOTA = "/api/v1/tokens/quota"


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
