"""What tests of billing do: a team that is a customer of Stripe's, products, and signed events."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import msgspec
from servers import PATIENCE

from plugins.private_ai.gate import ADMIN, Running
from plugins.private_ai.stripe_peer import StripePeer

SECRET = "whsec_of_the_endpoint"
CHIEF = "chief@bees.example"


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
