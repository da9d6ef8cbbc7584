"""Buying tokens over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN, Account, Running

PURCHASE = "/api/v1/tokens/purchase"
UNKNOWN = "770e8400-e29b-41d4-a716-446655440002"


async def buy(
    running: Running, account: Account, *, key: str | None = "purchase-001", **fields: object
) -> httpx.Response:
    body = {"userId": account.uuid, "provider": "openai", "tokens": 1000, **fields}
    headers = {**account.bearer, **({} if key is None else {"Idempotency-Key": key})}
    return await running.http.post(PURCHASE, json=body, headers=headers)


async def look(running: Running, account: Account, purchase: str) -> Any:
    answer = await running.http.get(f"{PURCHASE}/{purchase}", headers=account.bearer)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ended(running: Running, account: Account, purchase: str) -> Any:
    """The purchase once it has gone its way, which it does by itself."""
    async with asyncio.timeout(10):
        while True:
            state = await look(running, account, purchase)
            if state["status"] in ("COMPLETED", "FAILED"):
                return state


def manually(document: dict[str, Any]) -> None:
    document["plugins"][PLUGIN]["payment"] = "manual"


async def test_a_purchase_is_accepted_and_completes_by_itself(running: Running) -> None:
    """The guide's purchase, key by key."""
    account = await running.account()
    answer = await buy(running, account)
    assert answer.status_code == 202
    body = answer.json()
    saga = body.pop("sagaId")
    assert body == {"status": "STARTED", "createdAt": "2026-02-05T12:00:00Z"}
    assert await ended(running, account, saga) == {
        "id": saga,
        "userId": account.uuid,
        "orgId": None,
        "provider": "openai",
        "tokens": 1000,
        "idempotencyKey": "purchase-001",
        "status": "COMPLETED",
        "createdAt": "2026-02-05T12:00:00Z",
        "updatedAt": "2026-02-05T12:00:00Z",
    }
    assert (await running.quota(account))["totalTokens"] == 2000


async def test_bought_tokens_can_be_spent_at_once(running: Running) -> None:
    """The running ledger hears of them."""
    account = await running.account()
    await running.give(account, 10)
    assert (await running.consume(account, 500)).status_code == 402
    await ended(running, account, (await buy(running, account)).json()["sagaId"])
    assert (await running.consume(account, 500)).status_code == 200
    assert await running.left(account) == 510


async def test_double_submits_are_one_purchase(running: Running) -> None:
    account = await running.account()
    answers = await asyncio.gather(*(buy(running, account) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    (saga,) = {answer.json()["sagaId"] for answer in answers}
    await ended(running, account, saga)
    assert (await running.quota(account))["totalTokens"] == 2000


async def test_the_same_key_for_something_else_is_409(running: Running) -> None:
    account = await running.account()
    await buy(running, account)
    answer = await buy(running, account, tokens=999)
    assert answer.status_code == 409
    assert answer.json().keys() == {"message", "timestamp"}


async def test_an_organizations_quota_grows(running: Running) -> None:
    account = await running.account()
    organization = await running.organization(account, tokens=500)
    state = await ended(running, account, (await buy(running, account, orgId=organization)).json()["sagaId"])
    assert state["orgId"] == organization
    query = {"orgId": organization, "provider": "openai"}
    answer = await running.http.get("/api/v1/tokens/quota/org", params=query, headers=account.bearer)
    assert answer.json()["totalTokens"] == 1500
    assert (await running.quota(account))["totalTokens"] == 1000


async def test_an_administrator_approves(open_gate: OpenLeakyGate) -> None:
    async with open_gate(manually) as running:
        account, admin = await running.account(), await running.account("root", admin=True)
        saga = (await buy(running, account)).json()["sagaId"]
        waiting = (await running.http.get(PURCHASE, headers=admin.bearer)).json()
        assert [purchase["id"] for purchase in waiting] == [saga]
        assert (await look(running, account, saga))["status"] == "STARTED"
        approve = f"{PURCHASE}/{saga}/approve"
        assert (await running.http.post(approve, headers=account.bearer)).status_code == 403
        assert (await running.http.post(approve, headers=admin.bearer)).status_code == 200
        assert (await ended(running, account, saga))["status"] == "COMPLETED"
        assert (await running.http.post(approve, headers=admin.bearer)).status_code == 409
        assert (await running.quota(account))["totalTokens"] == 2000


async def test_an_administrator_rejects(open_gate: OpenLeakyGate) -> None:
    async with open_gate(manually) as running:
        account, admin = await running.account(), await running.account("root", admin=True)
        saga = (await buy(running, account)).json()["sagaId"]
        await running.http.post(f"{PURCHASE}/{saga}/reject", headers=admin.bearer)
        assert (await ended(running, account, saga))["status"] == "FAILED"
        assert (await running.quota(account))["totalTokens"] == 1000


async def test_a_purchase_goes_on_after_a_restart(open_gate: OpenLeakyGate) -> None:
    """The gate that took it stops while it waits; the next one finds it, with other settings even."""
    async with open_gate(manually) as running:
        account = await running.account()
        saga = (await buy(running, account)).json()["sagaId"]
        purchase = await look(running, account, saga)
        assert purchase["status"] == "STARTED"
        admin = await running.account("root", admin=True)
    async with open_gate(manually) as running:
        await running.http.post(f"{PURCHASE}/{saga}/approve", headers=admin.bearer)
        assert (await ended(running, account, saga))["status"] == "COMPLETED"
        assert (await running.quota(account))["totalTokens"] == 2000


@pytest.mark.parametrize(
    "fields",
    [{"tokens": 0}, {"tokens": 1_000_001}, {"tokens": "10"}, {"provider": "nobody"}, {"userId": "x"}],
)
async def test_what_is_no_purchase_is_400(running: Running, fields: dict[str, Any]) -> None:
    account = await running.account()
    assert (await buy(running, account, **fields)).status_code == 400


async def test_a_key_over_100_characters_is_400(running: Running) -> None:
    account = await running.account()
    assert (await buy(running, account, key="k" * 101)).status_code == 400
    assert (await buy(running, account, key="k" * 100, tokens=1_000_000)).status_code == 202


async def test_purchases_are_the_buyers_own(running: Running) -> None:
    account, stranger = await running.account(), await running.account("stranger")
    saga = (await buy(running, account)).json()["sagaId"]
    path = f"{PURCHASE}/{saga}"
    assert (await running.http.get(path, headers=stranger.bearer)).status_code == 403
    assert (await running.http.get(path)).status_code == 401
    assert (await buy(running, stranger, userId=account.uuid)).status_code == 403
    assert (await running.http.get(PURCHASE, headers=stranger.bearer)).status_code == 403
    unknown = await running.http.get(f"{PURCHASE}/{UNKNOWN}", headers=account.bearer)
    assert unknown.status_code == 404
