"""Payment by Stripe: one PaymentIntent for each purchase, captured by hand (https://docs.stripe.com/payments/place-a-hold-on-a-payment-method).

The intent is made by the gate and confirmed by the payer's browser with its client secret. Everything that is
sent to Stripe carries an idempotency key made of the purchase's id (https://docs.stripe.com/api/idempotent_requests).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from llmgate.plugin.kit import stripe_client
from llmgate.plugin.kit.stripe_client import StripeAccount

from .payments import PaymentDeclined, PaymentPending, PaymentUnavailable

if TYPE_CHECKING:
    import stripe

    from .saga import Purchase

ASK_AGAIN = 5.0
"""Seconds between two looks at an intent that the payer has not confirmed yet."""


class StripeSettings(StripeAccount, frozen=True, kw_only=True):
    """The table `[plugins.llmgate_leaky_tokens.stripe]`."""

    price: Annotated[
        int, Meta(ge=1, description="Price of 1,000 tokens, in the currency's smallest unit, such as cents.")
    ]
    currency: Annotated[str, Meta(pattern="^[a-z]{3}$", description="Three-letter code, in lower case.")] = (
        "usd"
    )


@asynccontextmanager
async def open_stripe(settings: StripeSettings) -> AsyncIterator[Stripe]:
    """Payment by Stripe. Raises `ConfigError` if its library is not installed."""
    place = "plugins.llmgate_leaky_tokens.payment"
    async with stripe_client.open_stripe(settings, place=place, extra="stripe") as client:
        yield Stripe(client, settings)


class Stripe:
    """`Payment` by Stripe."""

    def __init__(self, client: stripe.StripeClient, settings: StripeSettings) -> None:
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds
        self._settings = settings

    def amount(self, tokens: int) -> int:
        """What so many tokens cost, rounded up, in the currency's smallest unit."""
        return -(-tokens * self._settings.price // 1000)

    async def reserve(self, purchase: Purchase) -> str:
        """See `Payment`."""
        with _translated():
            if purchase.payment is None:
                intent = await self._intents.create_async(
                    {
                        "amount": self.amount(purchase.tokens),
                        "currency": self._settings.currency,
                        "capture_method": "manual",
                        "automatic_payment_methods": {"enabled": True},
                        "metadata": {"purchase": purchase.id, "provider": purchase.provider},
                    },
                    {"idempotency_key": f"{purchase.id}-create"},
                )
            else:
                intent = await self._intents.retrieve_async(purchase.payment)
        match intent.status:
            case "requires_capture" | "succeeded":
                return intent.id
            case "canceled":
                raise PaymentDeclined("the payment was cancelled")
            case _:
                raise PaymentPending(
                    ask_again=ASK_AGAIN, payment=intent.id, client_secret=intent.client_secret
                )

    async def capture(self, purchase: Purchase) -> None:
        """See `Payment`."""
        intent = _intent(purchase)
        with _translated():
            status = (await self._intents.retrieve_async(intent)).status
            if status == "requires_capture":
                options: stripe.RequestOptions = {"idempotency_key": f"{purchase.id}-capture"}
                status = (await self._intents.capture_async(intent, {}, options)).status
        if status != "succeeded":
            raise PaymentDeclined(f"the payment cannot be captured: it is {status}")

    async def cancel(self, purchase: Purchase) -> None:
        """See `Payment`."""
        if purchase.payment is None:
            return
        with _translated():
            status = (await self._intents.retrieve_async(purchase.payment)).status
            if status == "succeeded":
                refund: stripe.RequestOptions = {"idempotency_key": f"{purchase.id}-refund"}
                await self._refunds.create_async({"payment_intent": purchase.payment}, refund)
            elif status != "canceled":
                cancel: stripe.RequestOptions = {"idempotency_key": f"{purchase.id}-cancel"}
                await self._intents.cancel_async(purchase.payment, {}, cancel)


def _intent(purchase: Purchase) -> str:
    assert purchase.payment is not None, "reserved before"
    return purchase.payment


@contextmanager
def _translated() -> Iterator[None]:
    """Stripe's errors as the seam knows them (https://docs.stripe.com/error-handling)."""
    import stripe  # noqa: PLC0415 - loaded by now

    try:
        yield
    except stripe.CardError as error:
        raise PaymentDeclined(error.user_message or "the card was declined") from error
    except stripe.StripeError as error:
        raise PaymentUnavailable(f"Stripe: {type(error).__name__}: {error.user_message}") from error
