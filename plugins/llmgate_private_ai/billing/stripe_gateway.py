"""Stripe by its own library: customers, the portal, pricing tables and subscriptions.

All that is sent carries an idempotency key where a repeat would make a second one
(https://docs.stripe.com/api/idempotent_requests). Errors of the library become `BillingFailed`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from llmgate.plugin.api import Refusal, Secret
from llmgate.plugin.kit.stripe_client import StripeAccount
from llmgate.plugin.kit.stripe_client import open_stripe as open_client

from .events import products_of

if TYPE_CHECKING:
    import stripe

LIVE = frozenset({"active", "trialing", "past_due"})
"""Statuses of subscriptions that give a team what they are for."""
PAGE = 100


TIMEOUT = 4.0
"""Seconds: clients of this API give up after five, and nothing of it is tried again before that."""


class StripeSettings(StripeAccount, frozen=True, kw_only=True):
    """The table `[plugins.llmgate_private_ai.stripe]`."""

    webhook_secret: Annotated[Secret, Meta(description="Signing secret of the endpoint for /billing/events.")]
    publishable_key: Annotated[str, Meta(description="Key that browsers use for the pricing table.")] = ""


class BillingFailed(Refusal):
    """Stripe did not do what it was asked for."""

    status = 500
    reason = "upstream"


class BillingUnset(Refusal):
    """There is no [plugins.llmgate_private_ai.stripe]."""

    status = 500
    reason = "unavailable"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription of a customer."""

    id: str
    products: tuple[str, ...]


@asynccontextmanager
async def open_stripe(settings: StripeSettings | None) -> AsyncIterator[StripeGateway | NoStripe]:
    """Stripe, or what says that it is not set up. Raises `ConfigError` if its library is not installed."""
    if settings is None:
        yield NoStripe()
        return
    place = "plugins.llmgate_private_ai.stripe"
    async with open_client(settings, place=place, extra="private-ai", timeout=TIMEOUT, retries=0) as client:
        yield StripeGateway(client)


class StripeGateway:
    """See the module's text. Made by `open_stripe`."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._api = client.v1

    async def create_customer(self, *, team_id: int, name: str, email: str) -> str:
        """The id of a new customer for a team; the same one if it was made before."""
        with _translated("make a customer"):
            customer = await self._api.customers.create_async(
                {"name": name, "email": email, "metadata": {"team_id": str(team_id)}},
                {"idempotency_key": f"llmgate-team-{team_id}-customer"},
            )
        return customer.id

    async def portal(self, customer: str, *, return_url: str) -> str:
        """A URL at which the customer manages its subscriptions, good for a short time."""
        with _translated("open the portal"):
            session = await self._api.billing_portal.sessions.create_async(
                {"customer": customer, "return_url": return_url}
            )
        return session.url

    async def pricing_table_session(self, customer: str) -> str:
        """The client secret with which a browser shows the pricing table for this customer."""
        components: Any = {"pricing_table": {"enabled": True}}
        with _translated("open the pricing table"):
            session = await self._api.customer_sessions.create_async(
                {"customer": customer, "components": components}
            )
        return session.client_secret

    async def free_price(self, product: str) -> str | None:
        """The price of a product that costs nothing and has exactly one active price; else None."""
        with _translated("look prices up"):
            prices = await self._api.prices.list_async({"product": product, "active": True, "limit": 2})
        one = prices.data[0] if len(prices.data) == 1 else None
        return one.id if one is not None and one.unit_amount == 0 else None

    async def subscribe(self, customer: str, price: str, *, key: str) -> str:
        """The id of a new subscription; `key` makes a repeat harmless."""
        with _translated("subscribe"):
            made = await self._api.subscriptions.create_async(
                {"customer": customer, "items": [{"price": price}]}, {"idempotency_key": key}
            )
        return made.id

    async def cancel(self, subscription: str) -> None:
        """End a subscription now."""
        with _translated("cancel the subscription"):
            await self._api.subscriptions.cancel_async(subscription)

    async def subscription(self, subscription: str) -> Subscription:
        """What a subscription is for."""
        with _translated("look the subscription up"):
            found = await self._api.subscriptions.retrieve_async(subscription)
        return Subscription(found.id, tuple(products_of(found.to_dict())))

    async def live(self, customer: str) -> list[Subscription]:
        """The customer's subscriptions that are in force."""
        with _translated("look subscriptions up"):
            found = await self._api.subscriptions.list_async({"customer": customer, "limit": PAGE})
        return [
            Subscription(one.id, tuple(products_of(one.to_dict())))
            for one in found.data
            if one.status in LIVE
        ]


class NoStripe:
    """In place of Stripe where it is not set up: whatever needs it says so."""

    def __getattr__(self, name: str) -> Any:
        raise BillingUnset(
            "Payments are not set up: [plugins.llmgate_private_ai.stripe] is missing in gate.toml."
        )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Stripe's errors (https://docs.stripe.com/error-handling) in words for the caller, without any secret."""
    import stripe  # noqa: PLC0415 - loaded by now

    try:
        yield
    except stripe.StripeError as error:
        said = error.user_message or type(error).__name__
        raise BillingFailed(f"Stripe could not {what}: {said}") from error
