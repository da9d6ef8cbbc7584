"""A stateful Stripe for tests: localstripe in a process of its own, and before it what it lacks.

localstripe (GPL-3: run beside, never imported) keeps customers, products, plans, subscriptions and invoices, and signs
its events. It has no prices, portal, customer sessions and checkout sessions: those are answered here, a price being
one of localstripe's plans.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from servers import PATIENCE, serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "sk_test_12345"
STARTED_WITHIN = 20.0


@dataclass
class StripePeer:
    """`url` is where Stripe's library is sent to; `http` speaks to localstripe itself."""

    url: str
    http: httpx.AsyncClient

    async def product(self, name: str, amount: int) -> str:
        """A product with a monthly price in cents; returns the product's id."""
        product = await self._post("/v1/products", name=name, type="service")
        await self._post("/v1/plans", product=product["id"], amount=amount, currency="usd", interval="month")
        return str(product["id"])

    async def subscribe(self, customer: str, product: str) -> str:
        """As if the customer had paid by the pricing table; events follow."""
        card = {
            "card[number]": "4242424242424242",
            "card[exp_month]": 12,
            "card[exp_year]": 2050,
            "card[cvc]": "123",
        }
        method = await self._post("/v1/payment_methods", type="card", **card)
        await self._post(f"/v1/payment_methods/{method['id']}/attach", customer=customer)
        await self._post(
            f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": method["id"]}
        )
        plan = next(one for one in await plans(self.http) if one["product"] == product)
        made = await self._post("/v1/subscriptions", customer=customer, **{"items[0][plan]": plan["id"]})
        return str(made["id"])

    async def cancel(self, subscription: str) -> None:
        """The subscription ends now."""
        (await self.http.delete(f"/v1/subscriptions/{subscription}")).raise_for_status()

    async def send_events_to(self, url: str, secret: str) -> None:
        """Every event from now on."""
        answer = await self.http.post("/_config/webhooks/gate", data={"url": url, "secret": secret})
        answer.raise_for_status()

    async def subscriptions(self, customer: str) -> list[dict[str, Any]]:
        """What localstripe has of them."""
        answer = await self.http.get("/v1/subscriptions", params={"customer": customer})
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def _post(self, path: str, **form: object) -> dict[str, Any]:
        answer = await self.http.post(path, data=form)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made


async def plans(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/v1/plans", params={"limit": 100})).json()["data"]
    return found


class Front:
    """What localstripe has not, and the way to it for all else."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def prices(self, request: Request) -> Response:
        product = request.query_params.get("product")
        data = [
            {
                "id": one["id"],
                "object": "price",
                "active": True,
                "unit_amount": one["amount"],
                "product": one["product"],
            }
            for one in await plans(self._http)
            if product in (None, one["product"])
        ]
        return JSONResponse({"object": "list", "data": data, "has_more": False, "url": "/v1/prices"})

    async def portal(self, request: Request) -> Response:
        form = await self._form(request)
        if (missing := await self._customer(form)) is not None:
            return missing
        url = (
            f"https://billing.stripe.com/session/{form['customer']}?{urlencode({'back': form['return_url']})}"
        )
        return JSONResponse({"id": "bps_1", "object": "billing_portal.session", "url": url})

    async def customer_session(self, request: Request) -> Response:
        form = await self._form(request)
        if (missing := await self._customer(form)) is not None:
            return missing
        secret = f"cuss_secret_{form['customer']}"
        return JSONResponse(
            {"object": "customer_session", "client_secret": secret, "customer": form["customer"]}
        )

    async def pass_on(self, request: Request) -> Response:
        form = [
            (name.replace("[price]", "[plan]"), value) for name, value in (await self._form(request)).items()
        ]
        answer = await self._http.request(
            request.method,
            request.url.path,
            params=request.query_params,
            content=urlencode(form) if form else b"",
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

    async def _form(self, request: Request) -> dict[str, str]:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        return dict(parse_qsl((await request.body()).decode()))

    async def _customer(self, form: dict[str, str]) -> Response | None:
        """Stripe's refusal of a customer that is not there."""
        answer = await self._http.get(f"/v1/customers/{form['customer']}")
        return (
            None
            if answer.is_success
            else Response(answer.content, answer.status_code, media_type="application/json")
        )


@asynccontextmanager
async def stripe_peer(folder: Path) -> AsyncIterator[StripePeer]:
    """A fresh Stripe. Skips where localstripe is not installed."""
    if find_spec("localstripe") is None:
        pytest.skip("localstripe is not installed: make .venv/installed-dev")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "localstripe.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"),
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    try:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=base, auth=(KEY, ""), timeout=PATIENCE, trust_env=False
        ) as http:
            async with asyncio.timeout(STARTED_WITHIN):
                while not await _answers(http):  # noqa: ASYNC110 - a process says nothing when it is ready
                    await asyncio.sleep(0.05)
            front = Front(http)
            routes = [
                Route("/v1/prices", front.prices),
                Route("/v1/billing_portal/sessions", front.portal, methods=["POST"]),
                Route("/v1/customer_sessions", front.customer_session, methods=["POST"]),
                Route("/{rest:path}", front.pass_on, methods=["GET", "POST", "DELETE"]),
            ]
            async with serve(Starlette(routes=routes)) as url:
                yield StripePeer(url, http)
    finally:
        process.terminate()
        await process.wait()
        log.close()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/v1/plans")).is_success
    except httpx.TransportError:
        return False
