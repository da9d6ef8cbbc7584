"""Billing: Stripe by its own library against a stateful peer, its events, and webhooks to those who asked."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mail_server import Mailbox
from servers import PATIENCE, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from stores import Clock

from plugins.private_ai.gate import ADMIN, Running, running_gate
from plugins.private_ai.stripe_peer import KEY, StripePeer, stripe_peer

pytest.importorskip("stripe")
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use .content:DeprecationWarning"
)  # how Stripe's library uses httpx

SECRET = "whsec_of_the_endpoint"
CHIEF = "chief@bees.example"


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[StripePeer]:
    async with stripe_peer(tmp_path) as peer:
        yield peer


@pytest.fixture
def clock() -> Clock:
    """Stripe signs by the real time, and what it signed is good for five minutes."""
    return Clock(time.time())


@pytest.fixture
async def paid(store_file: Path, mailbox: Mailbox, clock: Clock, peer: StripePeer) -> AsyncIterator[Running]:
    """The gate with Stripe set up, a team, and its chief."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_private_ai"] |= {
            "stripe": {"api_key": KEY, "webhook_secret": SECRET, "api_base": peer.url},
            "allowed_networks": ["127.0.0.0/8"],
        }

    async with running_gate(store_file, mailbox, clock, change=change) as running:
        team = await running.team("Bees")
        await running.user(CHIEF, team_id=team, role="admin")
        yield running


async def team_of(running: Running) -> dict[str, Any]:
    found: list[dict[str, Any]] = await running.ask(ADMIN, "GET", "/teams")
    return found[0]


async def eventually(check: Callable[[], Any]) -> Any:
    """What `check` gives once it is true: an event is worked off after Stripe was told that it is kept."""
    deadline = time.monotonic() + PATIENCE
    while not (found := await check()):
        assert time.monotonic() < deadline, "nothing happened"
    return found


def signed(body: bytes, at: float) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={int(at)},v1={digest}"}


async def say(running: Running, kind: str, event_id: str = "evt_1", **about: Any) -> int:
    body = msgspec.json.encode({"id": event_id, "type": kind, "data": {"object": about}})
    answer = await running.http.post("/billing/events", content=body, headers=signed(body, running.clock()))
    return answer.status_code


async def product(running: Running, peer: StripePeer, name: str, amount: int, **terms: Any) -> str:
    made = await peer.product(name, amount)
    await running.ask(ADMIN, "POST", "/products", {"id": made, "name": name, **terms}, status=201)
    return made


async def register(running: Running) -> str:
    """The team becomes a customer of Stripe's; its id there."""
    team = await team_of(running)
    session = await running.ask(CHIEF, "GET", f"/billing/teams/{team['id']}/pricing-table-session")
    assert session["url"] == "http://localhost:3000/team-admin/pricing"
    customer = (await team_of(running))["stripe_customer_id"]
    assert session["client_secret"] == f"cuss_secret_{customer}"
    return str(customer)


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


async def test_what_stripe_has_not_signed_is_not_there(paid: Running) -> None:
    body = b'{"id":"evt_1","type":"invoice.paid","data":{}}'
    for headers in ({}, {"stripe-signature": "t=1,v1=00"}, signed(body, paid.clock() - 600)):
        answer = await paid.http.post("/billing/events", content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found"})
    garbage = b"[1"
    answer = await paid.http.post("/billing/events", content=garbage, headers=signed(garbage, paid.clock()))
    assert answer.status_code == 400


async def test_events_of_other_kinds_and_customers_change_nothing(paid: Running) -> None:
    assert await say(paid, "charge.refunded", "evt_a", customer="cus_x") == 200
    assert await say(paid, "invoice.paid", "evt_b", customer="cus_x", period_start=1) == 200


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


async def test_webhooks_tell_of_events_signed_and_keep_to_their_team(paid: Running, peer: StripePeer) -> None:
    received: list[tuple[bytes, str]] = []

    async def hear(request: Request) -> Response:
        received.append((await request.body(), request.headers["webhook-signature"]))
        return Response(status_code=500 if len(received) == 1 else 204)

    async with serve(Starlette(routes=[Route("/events", hear, methods=["POST"])])) as url:
        wanted = {"url": f"{url}/events", "events": ["invoice.payment_failed", "key.created"]}
        made = await paid.ask(CHIEF, "POST", "/billing/webhooks", wanted, status=201)
        assert made["secret"].startswith("whsec_")
        listed = await paid.ask(CHIEF, "GET", "/billing/webhooks")
        assert [(one["id"], "secret" in one) for one in listed] == [(made["id"], False)]
        customer = await register(paid)
        await say(paid, "invoice.payment_failed", customer=customer, subscription=None)

        async def heard() -> bool:
            await paid.ask(None, "GET", "/health")
            return bool(received)

        await eventually(heard)
        body, header = received[0]
        at = header.partition(",")[0].removeprefix("t=")
        expected = hmac.new(made["secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        assert header == f"t={at},v1={expected}"
        assert msgspec.json.decode(body)["type"] == "invoice.payment_failed"
        await paid.user("other@example.com", team_id=await paid.team("Wasps"), role="admin")
        await paid.ask("other@example.com", "DELETE", f"/billing/webhooks/{made['id']}", status=404)
        await paid.ask(CHIEF, "DELETE", f"/billing/webhooks/{made['id']}", status=204)


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
