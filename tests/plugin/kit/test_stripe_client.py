"""Stripe's library, opened for as long as a surface is. What is done with it, the surfaces' tests show."""

import sys

import pytest
from servers import serve
from starlette.types import Receive, Scope, Send

from llmgate.config import Secret
from llmgate.errors import ConfigError
from llmgate.exchange import read_body
from llmgate.plugin.kit.stripe_client import StripeAccount, open_stripe

stripe = pytest.importorskip("stripe")
pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")  # how it uses httpx


async def test_the_accounts_key_goes_to_the_accounts_address() -> None:
    """And what is not answered is tried again as often as is said."""
    asked: list[bytes] = []

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 1 << 20)
        asked.append(dict(scope["headers"])[b"authorization"])
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 500, "headers": kind})
        await send({"type": "http.response.body", "body": b'{"error":{"message":"down"}}'})

    async with serve(api) as url:
        account = StripeAccount(api_key=Secret("sk_test_1"), api_base=url)
        for retries in (0, 1):
            asked.clear()
            async with open_stripe(account, place="p", extra="stripe", retries=retries) as client:
                with pytest.raises(stripe.StripeError):
                    await client.v1.customers.retrieve_async("cus_1")
            assert asked == [b"Bearer sk_test_1"] * (retries + 1)


async def test_without_the_library_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where in gate.toml it is needed."""
    monkeypatch.setitem(sys.modules, "stripe", None)
    with pytest.raises(ConfigError, match=r"plugins\.x\.payment: Stripe needs its library: .*stripe"):
        async with open_stripe(
            StripeAccount(api_key=Secret("sk")), place="plugins.x.payment", extra="stripe"
        ):
            pass


def test_the_key_does_not_show() -> None:
    """In a log, or in an error."""
    assert "sk_test" not in repr(StripeAccount(api_key=Secret("sk_test_1")))
