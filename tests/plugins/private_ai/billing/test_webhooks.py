"""Webhooks out: signed, tried again, each team its own."""

from __future__ import annotations

import hashlib
import hmac

import msgspec
import pytest
from servers import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plugins.private_ai.billing.paying import CHIEF, eventually, register, say
from plugins.private_ai.gate import Running
from plugins.private_ai.stripe_peer import StripePeer

pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how stripe uses httpx


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
