"""Stripe's events: each is taken once and has its effect."""

from __future__ import annotations

import pytest

from plugins.private_ai.billing.paying import CHIEF, SECRET, eventually, product, register, say, team_of
from plugins.private_ai.gate import ADMIN, Running
from plugins.private_ai.stripe_peer import StripePeer

pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how stripe uses httpx


async def test_a_subscription_gives_its_plan_to_every_key_and_its_end_takes_it_back(
    paid: Running, peer: StripePeer
) -> None:
    """By Stripe's own signed events."""
    await peer.send_events_to(f"{paid.urls[8800]}/billing/events", SECRET)
    pro = await product(paid, peer, "Pro", 2_000, max_budget_per_key=77.0, rpm_per_key=9)
    customer = await register(paid)
    key = await paid.token(CHIEF)
    subscription = await peer.subscribe(customer, pro)

    async def has(expected: list[str]) -> bool:
        team = (await team_of(paid))["id"]
        found = await paid.ask(ADMIN, "GET", f"/products?team_id={team}")
        return [one["id"] for one in found] == expected

    await eventually(lambda: has([pro]))
    used = await paid.ask(CHIEF, "GET", f"/private-ai-keys/{key['id']}/usage")
    assert (used["max_budget"], used["rpm_limit"]) == (77.0, 9)
    assert (await team_of(paid))["last_payment"] is not None
    await peer.cancel(subscription)
    await eventually(lambda: has([]))


async def test_an_event_is_taken_once(paid: Running, peer: StripePeer) -> None:
    customer = await register(paid)
    start = int(paid.clock()) - 86_400
    for _ in range(3):
        assert await say(paid, "invoice.paid", customer=customer, period_start=start) == 200

    async def is_renewed() -> bool:
        return (await team_of(paid))["last_payment"] is not None

    await eventually(is_renewed)


async def test_events_of_other_kinds_and_customers_change_nothing(paid: Running) -> None:
    assert await say(paid, "charge.refunded", "evt_a", customer="cus_x") == 200
    assert await say(paid, "invoice.paid", "evt_b", customer="cus_x", period_start=1) == 200
