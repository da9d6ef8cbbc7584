"""Consuming: what it takes from the quota and the bucket, and what it leaves untouched when it fails."""

import asyncio
import math
from typing import Any

import httpx
import pytest
from servers import until
from stores import Clock

from llmgate.ledger import Allotment, Subject, Unit
from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN, SAID, Providers, Running


async def test_it_takes_the_tokens_and_answers_the_prompt(running: Running, providers: Providers) -> None:
    """The guide's first consumption, key by key."""
    account = await running.account()
    answer = await running.consume(account, 50, prompt="Explain quantum computing in simple terms")
    assert answer.status_code == 200
    assert answer.json() == {
        "allowed": True,
        "capacity": 1000,
        "used": 50,
        "remaining": 950,
        "waitSeconds": 0,
        "timestamp": "2026-02-05T12:00:00Z",
        "providerResponse": {"id": "resp-uuid-123", "provider": "openai", "message": SAID},
    }
    assert await running.left(account) == 950


async def test_the_record_keeps_what_was_used_and_what_was_charged(running: Running) -> None:
    """The model reported 18 tokens; 50 were sold."""
    account = await running.account()
    await running.consume(account, 50)
    (record,) = await running.records()
    assert (record.input_tokens, record.output_tokens, record.booked) == (7, 11, 50)
    assert (record.surface, record.upstream, record.model) == ("leaky_tokens", "openai", "small")
    assert (record.outcome, record.certainty, record.status) == ("finished", "exact", 200)
    assert record.user_id == account.id


# --- the quota: 402, unchanged


async def test_without_enough_quota_nothing_changes(running: Running, providers: Providers) -> None:
    account = await running.account()
    await running.give(account, 40)
    before = await running.quota(account)
    answer = await running.consume(account, 41)
    assert answer.status_code == 402
    assert answer.json() == {"message": "insufficient token quota", "timestamp": "2026-02-05T12:00:00Z"}
    assert await running.quota(account) == before
    assert providers.requests == []
    assert (await running.consume(account, 40)).json()["used"] == 40, "the bucket has what was refused back"


async def test_more_than_any_bucket_holds_is_a_matter_of_the_quota(running: Running) -> None:
    """10,000 tokens are a good request; with an empty bucket only the quota stands against them."""
    account = await running.account()
    assert (await running.consume(account, 10_000)).status_code == 402
    await running.give(account, 10_000)
    answer = (await running.consume(account, 10_000)).json()
    assert (answer["allowed"], answer["used"], answer["remaining"]) == (True, 1000, 0)


async def test_a_user_without_a_quota_has_nothing_to_spend(open_gate: OpenLeakyGate) -> None:
    """Elsewhere in the gate no quota means no limit; here tokens are bought."""

    def without(document: dict[str, Any]) -> None:
        del document["plugins"][PLUGIN]["providers"]["openai"]["starting_tokens"]

    async with open_gate(without) as running:
        account = await running.account()
        assert (await running.consume(account, 1)).status_code == 402


async def test_a_quota_for_every_provider_covers_each(open_gate: OpenLeakyGate) -> None:
    """As `llmgate quota set --tokens` gives it; of several the tightest holds."""

    def without(document: dict[str, Any]) -> None:
        del document["plugins"][PLUGIN]["providers"]["openai"]["starting_tokens"]

    async with open_gate(without) as running:
        account = await running.account()
        await running.services.quotas.set(Subject("user", account.id), Allotment(Unit.TOKENS, 70))
        assert (await running.consume(account, 50)).status_code == 200
        assert await running.left(account) == 20
        assert (await running.consume(account, 21)).status_code == 402


async def test_with_own_tokens_alone_what_other_surfaces_give_is_not_spent(open_gate: OpenLeakyGate) -> None:
    """A limit for all upstreams holds as a limit, and gives nothing."""

    def own(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN]["spends"] = "own"
        del document["plugins"][PLUGIN]["providers"]["openai"]["starting_tokens"]

    async with open_gate(own) as running:
        account = await running.account()
        await running.services.quotas.set(Subject("user", account.id), Allotment(Unit.TOKENS, 70))
        assert (await running.consume(account, 50)).status_code == 402
        await running.give(account, 1000)
        assert (await running.consume(account, 50)).status_code == 200
        assert (await running.consume(account, 21)).status_code == 402


async def test_a_prompt_has_a_bound(open_gate: OpenLeakyGate) -> None:
    """In bytes: one token must not buy a megabyte of reading."""

    def short(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN]["max_prompt"] = 10

    async with open_gate(short) as running:
        account = await running.account()
        assert (await running.consume(account, 1, prompt="x" * 10)).status_code == 200
        for prompt in ("x" * 11, "é" * 6):
            answer = await running.consume(account, 1, prompt=prompt)
            assert (answer.status_code, answer.json()["message"]) == (
                400,
                "prompt: expected at most 10 bytes",
            )


async def test_concurrent_consumptions_never_pass_the_quota(running: Running) -> None:
    account = await running.account()
    await running.give(account, 250)
    answers = await asyncio.gather(*(running.consume(account, 50) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [402] * 7
    assert await running.left(account) == 0


async def test_a_key_with_a_quota_of_its_own_is_held_to_it(running: Running) -> None:
    account = await running.account()
    key, secret = await running.services.identity.keys.create(account.id, "small")
    await running.services.quotas.set(Subject("key", key.id), Allotment(Unit.TOKENS, 60))
    body = {"userId": account.uuid, "provider": "openai", "tokens": 50, "prompt": "Hello"}
    statuses = [
        (
            await running.http.post("/api/v1/tokens/consume", json=body, headers={"X-Api-Key": secret})
        ).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 402]


# --- the bucket: 429, with the wait


async def test_a_full_bucket_says_how_long_to_wait(running: Running, providers: Providers) -> None:
    """150 tokens too much at 10 a second are 15 seconds, as the guide shows."""
    account = await running.account()
    await running.give(account, 5000)
    await running.consume(account, 1000)
    answer = await running.consume(account, 150)
    assert answer.status_code == 429
    body = answer.json()
    wait = body.pop("waitSeconds")
    assert wait in (14, 15)  # time passes while the test runs
    assert answer.headers["retry-after"] == str(wait)
    used = body.pop("used")
    assert 950 < used <= 1000
    assert body == {
        "allowed": False,
        "capacity": 1000,
        "remaining": 1000 - used,
        "timestamp": "2026-02-05T12:00:00Z",
        "providerResponse": {},
    }
    assert len(providers.requests) == 1
    assert await running.left(account) == 4000


async def test_buckets_are_of_a_user_and_a_provider(running: Running) -> None:
    account, other = await running.account(), await running.account("other")
    await running.consume(account, 1000)
    assert (await running.consume(account, 500)).status_code == 429
    assert (await running.consume(account, 500, provider="qwen")).status_code == 200
    assert (await running.consume(other, 500)).status_code == 200


async def test_concurrent_consumptions_never_overfill_the_bucket(
    running: Running, providers: Providers
) -> None:
    """While the first are still being answered."""
    account = await running.account()
    await running.give(account, 100_000)
    providers.open.clear()
    calls = [asyncio.create_task(running.consume(account, 300)) for _ in range(10)]
    await until(lambda: sum(call.done() for call in calls) == 7)
    providers.open.set()
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 7


# --- the provider: 502 and 503 give everything back


async def test_a_client_that_hangs_up_ends_what_it_has_ordered(
    running: Running, providers: Providers
) -> None:
    """The provider is no longer asked; the order is paid for all the same, and recorded."""
    account = await running.account()
    providers.open.clear()
    leaving = asyncio.create_task(running.consume(account, 50))
    await until(lambda: providers.requests)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    async def recorded() -> list[tuple[str, int | None]]:
        return [(record.outcome, record.booked) for record in await running.records()]

    async with asyncio.timeout(5):
        while not (records := await recorded()):  # noqa: ASYNC110 - another connection's end decides
            await asyncio.sleep(0.01)
    assert records == [("aborted", 50)]
    assert await running.left(account) == 950
    assert [r.in_flight for r in running.services.upstreams["openai"].replicas] == [0]


# --- organizations


async def test_an_organization_pays_for_its_members(running: Running) -> None:
    account = await running.account()
    organization = await running.organization(account, tokens=500)
    assert (await running.consume(account, 100, orgId=organization)).status_code == 200
    assert await running.left(account) == 1000
    answer = await running.http.get(
        "/api/v1/tokens/quota/org",
        params={"orgId": organization, "provider": "openai"},
        headers=account.bearer,
    )
    assert answer.json()["remainingTokens"] == 400
    assert (await running.consume(account, 401, orgId=organization)).status_code == 402


async def test_others_do_not_spend_what_is_an_organizations(running: Running) -> None:
    account, stranger = await running.account(), await running.account("stranger")
    organization = await running.organization(account, tokens=500)
    assert (await running.consume(stranger, 1, orgId=organization)).status_code == 403


async def test_an_organization_that_is_not_active_pays_nothing(running: Running) -> None:
    account = await running.account()
    organization = await running.organization(account, tokens=500)
    organizations = running.services.identity.organizations
    await organizations.set_active((await organizations.by_uuid(organization)).id, active=False)
    assert (await running.consume(account, 1, orgId=organization)).status_code == 403


async def test_a_key_of_an_organization_spends_that_ones_quota_alone(running: Running) -> None:
    account = await running.account()
    mine, other = (
        await running.organization(account, tokens=500),
        await running.organization(account, tokens=500, name="other"),
    )
    organization = await running.services.identity.organizations.by_uuid(mine)
    _, secret = await running.services.identity.keys.create(
        account.id, "acme's", organization_id=organization.id
    )
    key = {"X-Api-Key": secret}
    body = {"userId": account.uuid, "provider": "openai", "tokens": 50, "prompt": "Hello"}
    consume = "/api/v1/tokens/consume"
    assert (await running.http.post(consume, json=body, headers=key)).status_code == 200
    assert (await running.http.post(consume, json={**body, "orgId": other}, headers=key)).status_code == 403
    assert await running.left(account) == 1000


# --- what is no request


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": 0},
        {"tokens": 10_001},
        {"tokens": -5},
        {"tokens": 1.5},
        {"tokens": "50"},
        {"tokens": True},
        {"tokens": None},
        {"provider": "anthropic"},
        {"provider": None},
        {"userId": "not-a-uuid"},
        {"userId": 5},
        {"orgId": "' OR 1=1 --"},
        {"prompt": 7},
    ],
)
async def test_what_is_no_request_is_400(
    running: Running, providers: Providers, fields: dict[str, Any]
) -> None:
    account = await running.account()
    answer = await running.consume(account, **{"tokens": 50, **fields})  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "timestamp"}
    assert providers.requests == []
    assert await running.records() == []


async def test_nobody_spends_what_is_somebody_elses(running: Running) -> None:
    account, stranger = await running.account(), await running.account("stranger")
    answer = await running.consume(stranger, 50, userId=account.uuid)
    assert answer.status_code == 403
    assert await running.left(account) == 1000
    unknown = await running.consume(stranger, 50, userId="550e8400-e29b-41d4-a716-446655440000")
    assert (unknown.status_code, unknown.json()) == (403, answer.json()), "nobody learns who is there"


async def test_an_administrator_spends_for_others(running: Running) -> None:
    account, admin = await running.account(), await running.account("root", admin=True)
    assert (await running.consume(admin, 50, userId=account.uuid)).status_code == 200
    assert await running.left(account) == 950


async def test_without_a_credential_it_is_401(running: Running) -> None:
    body = {"userId": "550e8400-e29b-41d4-a716-446655440000", "provider": "openai", "tokens": 1, "prompt": ""}
    answer: httpx.Response = await running.http.post("/api/v1/tokens/consume", json=body)
    assert answer.status_code == 401
    assert answer.json().keys() == {"message", "timestamp"}


async def test_the_time_of_the_last_consumption_is_when_the_quota_was_updated(
    running: Running, clock: Clock
) -> None:
    account = await running.account()
    clock.pass_by(1800)
    await running.consume(account, 150)
    clock.pass_by(60)
    assert await running.quota(account) == {
        "userId": account.uuid,
        "provider": "openai",
        "totalTokens": 1000,
        "remainingTokens": 850,
        "updatedAt": "2026-02-05T12:30:00Z",
    }
    assert math.isclose(clock.now, 1_770_292_800 + 1860)


async def test_tokens_that_are_only_held_are_not_told_as_spent(
    running: Running, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with Retry-After while another order holds them; the guide's 402 is for what is gone."""
    monkeypatch.setattr("llmgate.ledger.reservations.HELD_TRIES", 2)
    account = await running.account()
    await running.give(account, 60)
    providers.open.clear()
    first = asyncio.create_task(running.consume(account, 50))
    await until(lambda: providers.requests)
    held = await running.consume(account, 50)
    assert (held.status_code, held.headers["retry-after"]) == (429, "1")
    providers.open.set()
    assert (await first).status_code == 200
    assert (await running.consume(account, 50)).status_code == 402
