"""Stripe by its own library, which is an extra: opened with a surface, closed with it.

async with open_stripe(settings.stripe, place="plugins.my_plugin.stripe", extra="stripe") as client:
    await client.v1.customers.create_async(...)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from ..api import BaseUrl, ConfigError, Secret, extra_remedy

if TYPE_CHECKING:
    import stripe

TIMEOUT_S = 80.0
"""For one request, as the library has it."""


class StripeAccount(Struct, frozen=True, kw_only=True):
    """What of a table of settings says whose Stripe it is; a surface's own keys come on top."""

    api_key: Annotated[Secret, Meta(description="Stripe's secret key.")]
    api_base: Annotated[BaseUrl, Meta(description="Where Stripe's API is.")] = "https://api.stripe.com"


@asynccontextmanager
async def open_stripe(
    account: StripeAccount, *, place: str, extra: str, timeout: float = TIMEOUT_S, retries: int = 1
) -> AsyncIterator[stripe.StripeClient]:
    """A client of the account's API, whose requests take `timeout` seconds and are tried again `retries` times.

    Raises `ConfigError`, which names `place`, where the library is not installed: `extra` brings it.
    """
    try:
        import stripe  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise ConfigError([f"{place}: Stripe needs its library: {extra_remedy(extra)}"]) from error
    http = stripe.HTTPXClient(timeout=timeout)
    try:
        yield stripe.StripeClient(
            account.api_key.reveal(),
            base_addresses={"api": account.api_base},
            http_client=http,
            max_network_retries=retries,
        )
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]
