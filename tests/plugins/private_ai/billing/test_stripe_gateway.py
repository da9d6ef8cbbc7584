"""Stripe's own library against a stateful peer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from llmgate.plugin.api import Secret
from llmgate_private_ai.billing.stripe_gateway import (
    BillingFailed,
    BillingUnset,
    NoStripe,
    StripeGateway,
    StripeSettings,
    open_stripe,
)
from plugins.private_ai.stripe_peer import KEY, StripePeer

pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how it uses httpx


def settings(url: str) -> StripeSettings:
    return StripeSettings(api_key=Secret(KEY), webhook_secret=Secret("whsec_1"), api_base=url)


@pytest.fixture
async def stripe(peer: StripePeer) -> AsyncIterator[StripeGateway]:
    async with open_stripe(settings(peer.url)) as gateway:
        assert isinstance(gateway, StripeGateway)
        yield gateway


async def test_a_customers_whole_life(stripe: StripeGateway, peer: StripePeer) -> None:
    customer = await stripe.create_customer(team_id=7, name="Blue", email="a@example.com")
    free, paid = await peer.product("Free", 0), await peer.product("Pro", 2_000)
    price = await stripe.free_price(free)
    assert price is not None
    assert await stripe.free_price(paid) is None
    subscription = await stripe.subscribe(customer, price, key="once")
    assert (await stripe.subscription(subscription)).products == (free,)
    assert [one.id for one in await stripe.live(customer)] == [subscription]
    await stripe.cancel(subscription)
    assert await stripe.live(customer) == []


async def test_the_portal_and_the_pricing_table_are_opened_for_the_customer(stripe: StripeGateway) -> None:
    customer = await stripe.create_customer(team_id=7, name="Blue", email="a@example.com")
    url = await stripe.portal(customer, return_url="http://localhost:3000/team-admin/pricing")
    assert url.startswith("https://billing.stripe.com/session/")
    assert customer in await stripe.pricing_table_session(customer)


async def test_what_stripe_refuses_is_said_in_words_and_without_the_key(stripe: StripeGateway) -> None:
    with pytest.raises(BillingFailed, match="Stripe could not open the portal") as failed:
        await stripe.portal("cus_unknown", return_url="http://localhost:3000")
    assert KEY not in str(failed.value)


async def test_without_a_table_in_gate_toml_whoever_needs_stripe_is_told() -> None:
    async with open_stripe(None) as gateway:
        assert isinstance(gateway, NoStripe)
        with pytest.raises(BillingUnset, match=r"\[plugins.llmgate_private_ai.stripe\]"):
            await gateway.portal("cus_1", return_url="")
