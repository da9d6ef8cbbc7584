"""Webhooks: signed on their way out, checked on their way in."""

import base64
import datetime as dt
import hashlib
import hmac

import httpx
import pytest
import standardwebhooks
from servers import serve
from stores import Clock
from webhook_receiver import Receiver

from llmgate.config import Secret
from llmgate.errors import NotFound
from llmgate.plugin.kit.outbox import DeliveryFailed, Event
from llmgate.plugin.kit.webhooks import Webhook, WebhookSettings, signing_key, verify

NOON = 1_770_292_800.0
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


async def test_a_webhook_is_signed_as_standard_webhooks_wants_it() -> None:
    """Checked by hand, with the key that `whsec_` hides."""
    key = b"0123456789abcdef0123456789abcdef"
    receiver, event = Receiver(), Event("evt-1", "one", "a", b'{"id":"evt-1"}')
    async with serve(receiver) as url, httpx.AsyncClient(trust_env=False) as http:
        secret = Secret("whsec_" + base64.b64encode(key).decode())
        await Webhook(http, WebhookSettings(url=url, secret=secret), clock=Clock(NOON)).deliver(event)
    ((headers, body),) = receiver.got
    assert (headers[b"webhook-id"], headers[b"webhook-timestamp"]) == (b"evt-1", b"1770292800")
    signed = hmac.new(key, b"evt-1.1770292800." + body, hashlib.sha256).digest()
    assert headers[b"webhook-signature"] == b"v1," + base64.b64encode(signed)


@pytest.mark.parametrize("status", [302, 400, 410, 500])
async def test_anything_but_2xx_is_no_delivery(status: int) -> None:
    async with serve(Receiver([status])) as url, httpx.AsyncClient(trust_env=False) as http:
        settings = WebhookSettings(url=url, secret=Secret("s"))
        with pytest.raises(DeliveryFailed, match=str(status)):
            await Webhook(http, settings, clock=Clock(NOON)).deliver(Event("evt-1", "one", "a", b"{}"))


async def test_a_receiver_out_of_reach_is_no_delivery() -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        settings = WebhookSettings(url="http://127.0.0.1:1", secret=Secret("s"))
        with pytest.raises(DeliveryFailed):
            await Webhook(http, settings, clock=Clock(NOON)).deliver(Event("evt-1", "one", "a", b"{}"))


def test_a_secret_is_any_text_or_base64_after_whsec() -> None:
    assert signing_key("any text") == b"any text"
    with pytest.raises(ValueError, match="base64"):
        signing_key("whsec_???")


@pytest.mark.parametrize("secret", ["", "s", "whsec_", "whsec_QUJD", "12345678901234567890123"])
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    """The standard's bound: 24 bytes."""
    with pytest.raises(ValueError, match="24 bytes or more"):
        WebhookSettings(url="http://127.0.0.1:1", secret=Secret(secret)).check()


@pytest.mark.parametrize("secret", [SECRET, "any text of 24 bytes, or more"])
def test_a_secret_that_cannot_be_guessed_is_taken(secret: str) -> None:
    WebhookSettings(url="http://127.0.0.1:1", secret=Secret(secret)).check()


def signed(secret: str = SECRET, *, age_s: float = 0, body: str = "{}") -> dict[str, str]:
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age_s)
    signature = standardwebhooks.Webhook(secret).sign("evt-1", at, body)
    return {
        "webhook-id": "evt-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }


def test_what_was_signed_lately_is_taken() -> None:
    verify(SECRET, signed(), b"{}")


@pytest.mark.parametrize(
    ("secret", "headers", "body"),
    [
        (SECRET, signed(), b"{} "),
        (SECRET, signed(age_s=360), b"{}"),
        (SECRET, signed("whsec_" + base64.b64encode(b"x" * 24).decode()), b"{}"),
        (SECRET, {}, b"{}"),
        (SECRET, {**signed(), "webhook-signature": "nonsense"}, b"{}"),
        (SECRET, {**signed(), "webhook-timestamp": "nonsense"}, b"{}"),
        (SECRET, signed(), b"\xff"),
        ("", signed(), b"{}"),
        ("whsec_???", signed(), b"{}"),
    ],
)
def test_whatever_else_comes_is_not_known(secret: str, headers: dict[str, str], body: bytes) -> None:
    """An empty secret verifies nothing."""
    with pytest.raises(NotFound):
        verify(secret, headers, body)
