"""The operations under /billing: the portal, events that Stripe signed, products given away, webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.private_ai.billing.paying import CHIEF, product, register, signed, team_of
from plugins.private_ai.gate import ADMIN, Running
from plugins.private_ai.stripe_peer import StripePeer

pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how stripe uses httpx


async def test_a_team_becomes_a_customer_once_and_is_sent_to_the_portal(
    paid: Running, peer: StripePeer
) -> None:
    team = await team_of(paid)
    path = f"/billing/teams/{team['id']}/portal"
    refused = await paid.ask(CHIEF, "POST", path, status=400)
    assert refused == {"detail": "Team has not been registered with Stripe"}
    customer = await register(paid)
    assert await register(paid) == customer
    answer = await paid.http.post(path, headers={"authorization": f"Bearer {paid.bearers[CHIEF]}"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"https://billing.stripe.com/session/{customer}")
    assert (await paid.ask(CHIEF, "GET", path))["url"] == answer.headers["location"]


async def test_what_stripe_has_not_signed_is_not_there(paid: Running) -> None:
    body = b'{"id":"evt_1","type":"invoice.paid","data":{}}'
    for headers in ({}, {"stripe-signature": "t=1,v1=00"}, signed(body, paid.clock() - 600)):
        answer = await paid.http.post("/billing/events", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found"})
    garbage = b"[1"
    answer = await paid.http.post("/billing/events", content=garbage, headers=signed(garbage, paid.clock()))
    assert answer.status_code == 400


async def test_only_a_product_that_costs_nothing_can_be_given_away(paid: Running, peer: StripePeer) -> None:
    team = (await team_of(paid))["id"]
    free, pro = await product(paid, peer, "Free", 0), await product(paid, peer, "Pro", 2_000)
    path = f"/billing/teams/{team}/subscriptions"
    assert "price" in (await paid.ask(ADMIN, "POST", path, {"product_id": pro}, status=400))["detail"]
    await paid.ask(CHIEF, "POST", path, {"product_id": free}, status=403)
    made = await paid.ask(ADMIN, "POST", path, {"product_id": free}, status=201)
    assert (made["product_id"], made["team_id"]) == (free, team)
    await paid.ask(ADMIN, "POST", path, {"product_id": free}, status=400)
    await paid.ask(ADMIN, "DELETE", f"/billing/teams/{team}/subscription/{free}")
    await paid.ask(ADMIN, "DELETE", f"/billing/teams/{team}/subscription/{free}", status=404)


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://x", "events": ["invoice.paid"]},
        {"url": "https://x.example", "events": ["no.such.event"]},
        {"url": "https://x.example", "events": []},
        {"events": ["invoice.paid"]},
    ],
)
async def test_a_webhook_that_makes_no_sense_is_422(paid: Running, body: dict[str, Any]) -> None:
    refused = await paid.ask(CHIEF, "POST", "/billing/webhooks", body, status=422)
    assert isinstance(refused["detail"], str)


async def test_the_guides_webhook_wants_a_credential(running: Running) -> None:
    guide = {
        "url": "https://your-webhook-url.com/events",
        "events": ["invoice.payment_succeeded", "invoice.payment_failed"],
    }
    await running.ask(None, "POST", "/billing/webhooks", guide, status=401)
    await running.ask(ADMIN, "POST", "/billing/webhooks", guide, status=201)


async def test_without_stripe_whoever_needs_it_is_told(running: Running) -> None:
    team = await running.team("Bees")
    refused = await running.ask(ADMIN, "GET", f"/billing/teams/{team}/pricing-table-session", status=500)
    assert "[plugins.llmgate_private_ai.stripe]" in refused["detail"]
    await running.ask(None, "POST", "/billing/events", {"id": "x"}, status=404)
