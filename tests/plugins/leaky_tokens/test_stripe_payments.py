"""Payment by Stripe's own library, against a small server that keeps PaymentIntents as Stripe does."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from servers import refused_url, serve
from starlette.types import Receive, Scope, Send
from stores import Clock

from llmgate.config import Secret
from llmgate.exchange import read_body
from llmgate.store import Store
from llmgate_leaky_tokens.payments import PaymentUnavailable
from llmgate_leaky_tokens.saga import Purchase, Status
from llmgate_leaky_tokens.stripe_payments import Stripe, StripeSettings, open_stripe
from plugins.leaky_tokens.bank import Shop

pytest.importorskip("stripe")
pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how it uses httpx


@dataclass
class FakeStripe:
    """PaymentIntents and refunds; requests with the same idempotency key get the same answer."""

    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    forms: list[dict[str, str]] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)
    failing: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = dict(parse_qsl((await read_body(receive, 1 << 20)).decode()))
        headers = dict(scope["headers"])
        self.keys.add(headers[b"authorization"])
        once = headers.get(b"idempotency-key", b"").decode() if scope["method"] == "POST" else ""
        if once not in self.answers or not once:
            status, body = self._answer(scope["method"], scope["path"], form)
            if once and status < 500:
                self.answers[once] = status, body
        else:
            status, body = self.answers[once]
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": kind})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        verb = f"{method} {path.removeprefix('/v1/')}"
        self.asked[verb] += 1
        if self.failing:
            self.failing -= 1
            return 500, b'{"error":{"type":"api_error","message":"down"}}'
        self.forms.append(form)
        match path.split("/")[2:]:
            case ["payment_intents"]:
                number = f"pi_{len(self.intents) + 1}"
                self.intents[number] = {
                    "id": number,
                    "object": "payment_intent",
                    "status": "requires_payment_method",
                    "client_secret": f"{number}_secret",
                    "amount": int(form["amount"]),
                }
                return 200, msgspec.json.encode(self.intents[number])
            case ["payment_intents", number]:
                return 200, msgspec.json.encode(self.intents[number])
            case ["payment_intents", number, "capture"]:
                self.intents[number]["status"] = "succeeded"
                return 200, msgspec.json.encode(self.intents[number])
            case ["payment_intents", number, "cancel"]:
                self.intents[number]["status"] = "canceled"
                return 200, msgspec.json.encode(self.intents[number])
            case ["refunds"]:
                self.intents[form["payment_intent"]]["refunded"] = True
                return 200, b'{"id":"re_1","object":"refund","status":"succeeded"}'
        return 404, b'{"error":{"type":"invalid_request_error","message":"no such thing"}}'


@asynccontextmanager
async def shop_with(store: Store, fake: FakeStripe) -> AsyncIterator[Shop]:
    """A shop that is paid by Stripe: 10 cents for 1,000 tokens."""
    async with serve(fake) as url, open_stripe(terms(url)) as stripe:
        shop = Shop(store)
        shop.steps._payment = stripe
        yield shop


def terms(url: str) -> StripeSettings:
    return StripeSettings(api_key=Secret("sk_test_1"), price=10, currency="eur", api_base=url)


async def started(shop: Shop, tokens: int = 1001) -> Purchase:
    """A purchase whose intent was made and waits for the payer."""
    purchase = await shop.start(await shop.payer(), tokens)
    await shop.steps.run()
    return await shop.purchases.by_id(purchase.id)


async def test_the_payer_confirms_and_the_purchase_completes(store: Store, clock: Clock) -> None:
    """The amount is rounded up: 1,001 tokens are 11 cents."""
    fake = FakeStripe()
    async with shop_with(store, fake) as shop:
        purchase = await started(shop)
        assert (purchase.status, purchase.payment) == (Status.STARTED, "pi_1")
        assert purchase.client_secret == "pi_1_secret"
        assert (
            fake.forms[0].items()
            >= {
                "amount": "11",
                "currency": "eur",
                "capture_method": "manual",
                "metadata[purchase]": purchase.id,
            }.items()
        )
        fake.intents["pi_1"]["status"] = "requires_capture"
        clock.pass_by(5)
        await shop.steps.run()
        done = await shop.purchases.by_id(purchase.id)
    assert (done.status, done.client_secret) == (Status.COMPLETED, None)
    assert fake.intents["pi_1"]["status"] == "succeeded"
    assert fake.keys == {b"Bearer sk_test_1"}


async def test_an_intent_is_made_once_though_the_process_died_before_it_was_noted(store: Store) -> None:
    """Stripe knows the purchase by the idempotency key."""
    fake = FakeStripe()
    async with shop_with(store, fake) as shop:
        purchase = await shop.start(await shop.payer())
        for _ in range(3):
            await shop.steps.advance(purchase)  # what was seen before the first try, as after a crash
        assert list(fake.intents) == ["pi_1"]


async def test_a_payment_that_the_payer_cancels_fails_the_purchase(store: Store, clock: Clock) -> None:
    fake = FakeStripe()
    async with shop_with(store, fake) as shop:
        purchase = await started(shop)
        fake.intents["pi_1"]["status"] = "canceled"
        clock.pass_by(5)
        await shop.steps.run()
        assert (await shop.purchases.by_id(purchase.id)).status == Status.FAILED


async def test_an_authorization_that_ran_out_takes_the_tokens_back(store: Store, clock: Clock) -> None:
    """Reserved and allocated, then Stripe lets go of the money before it is captured."""
    fake = FakeStripe()
    async with shop_with(store, fake) as shop:
        payer = await shop.payer()
        purchase: Purchase | None = await shop.start(payer)
        await shop.steps.run()
        fake.intents["pi_1"]["status"] = "requires_capture"
        clock.pass_by(5)
        purchase = (await shop.purchases.due())[0]
        for _ in range(2):
            assert purchase is not None
            purchase = await shop.steps.advance(purchase)
        assert await shop.total(payer) == 1000
        fake.intents["pi_1"]["status"] = "canceled"
        await shop.steps.run()
        assert purchase is not None
        assert (await shop.purchases.by_id(purchase.id)).status == Status.FAILED
        assert await shop.total(payer) == 0


async def test_money_that_was_taken_is_given_back(store: Store) -> None:
    """A captured payment is refunded, once; one that is only reserved is let go."""
    fake = FakeStripe()
    async with serve(fake) as url, open_stripe(terms(url)) as stripe:
        purchase = await started_with(store, stripe)
        fake.intents["pi_1"]["status"] = "succeeded"
        for _ in range(2):
            await stripe.cancel(purchase)
        assert fake.intents["pi_1"]["refunded"]
        assert fake.asked["POST refunds"] == 1
        fake.intents["pi_1"]["status"] = "requires_capture"
        await stripe.cancel(purchase)
        assert fake.intents["pi_1"]["status"] == "canceled"


async def started_with(store: Store, stripe: Stripe) -> Purchase:
    shop = Shop(store)
    shop.steps._payment = stripe
    return await started(shop)


async def test_errors_of_stripe_are_tried_again_later(store: Store, clock: Clock) -> None:
    """The library tries once more by itself, then the saga does."""
    fake = FakeStripe(failing=2)
    async with shop_with(store, fake) as shop:
        purchase = await started(shop)
        assert (purchase.status, purchase.attempts, purchase.payment) == (Status.STARTED, 1, None)
        clock.pass_by(1)
        await shop.steps.run()
        assert (await shop.purchases.by_id(purchase.id)).payment == "pi_1"


async def test_stripe_out_of_reach_is_not_a_refusal(store: Store) -> None:
    shop = Shop(store)
    purchase = await shop.start(await shop.payer())
    async with open_stripe(terms(await refused_url())) as stripe:
        with pytest.raises(PaymentUnavailable):
            await stripe.reserve(purchase)
