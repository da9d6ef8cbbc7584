"""Stripe's events: whether they are Stripe's, and what follows from them."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate_private_ai.billing.events import BadSignature, Change, Effect, Event, effect_of, parse, verify

NOW = 1_800_000_000
SECRET = "whsec_1"
BODY = b'{"id": "evt_1", "type": "invoice.paid", "data": {"object": {}}}'


def signed(body: bytes = BODY, *, secret: str = SECRET, at: int = NOW) -> str:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def test_a_signature_of_the_secret_over_time_and_body_is_good() -> None:
    verify(BODY, signed(), SECRET, now=NOW + 299)


def test_one_good_signature_among_several_is_enough() -> None:
    """While a secret is rolled, Stripe signs with both."""
    verify(BODY, f"{signed()},v1=00,v0=11", SECRET, now=NOW)


@pytest.mark.parametrize(
    ("body", "header", "secret", "now"),
    [
        pytest.param(BODY + b" ", signed(), SECRET, NOW, id="another body"),
        pytest.param(BODY, signed(secret="whsec_2"), SECRET, NOW, id="another secret"),
        pytest.param(BODY, signed(), SECRET, NOW + 301, id="too old"),
        pytest.param(BODY, signed(), SECRET, NOW - 301, id="from the future"),
        pytest.param(BODY, None, SECRET, NOW, id="no header"),
        pytest.param(BODY, "", SECRET, NOW, id="empty header"),
        pytest.param(BODY, signed(secret=""), "", NOW, id="no secret"),
        pytest.param(BODY, f"t={NOW}", SECRET, NOW, id="no signature"),
        pytest.param(BODY, signed().replace("t=", "t=-"), SECRET, NOW, id="negative time"),
        pytest.param(BODY, signed() + f",t={NOW}", SECRET, NOW, id="two times"),
        pytest.param(BODY, f"t={'9' * 5000},v1=00", SECRET, NOW, id="huge time"),
        pytest.param(BODY, signed().replace("v1=", "v1=\u00e9"), SECRET, NOW, id="not ASCII"),
    ],
)
def test_anything_else_is_refused(body: bytes, header: str | None, secret: str, now: int) -> None:
    with pytest.raises(BadSignature):
        verify(body, header, secret, now=now)


@given(st.text(), st.binary())
def test_no_header_and_no_body_raises_anything_else(header: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(body, header, SECRET, now=NOW)


def event(kind: str, **about: Any) -> Event:
    return parse(
        msgspec.json.encode({"id": "evt_1", "type": kind, "created": NOW, "data": {"object": about}})
    )


ITEMS = {"data": [{"price": {"product": "prod_1"}}]}


@pytest.mark.parametrize("kind", ["created", "resumed"])
def test_a_subscription_links_its_products_from_its_start(kind: str) -> None:
    about = event(f"customer.subscription.{kind}", id="sub_1", customer="cus_1", start_date=NOW, items=ITEMS)
    assert effect_of(about) == Effect(Change.LINK, "cus_1", ("prod_1",), "sub_1", float(NOW))


def test_products_of_plans_count_like_those_of_prices_and_once() -> None:
    items = {"data": [{"plan": {"product": "prod_2"}}, {"price": {"product": {"id": "prod_2"}}}]}
    about = event("customer.subscription.created", id="sub_1", customer={"id": "cus_1"}, items=items)
    effect = effect_of(about)
    assert effect is not None
    assert (effect.customer, effect.products) == ("cus_1", ("prod_2",))


@pytest.mark.parametrize("kind", ["invoice.paid", "invoice.payment_succeeded"])
def test_a_paid_invoice_renews_and_names_its_subscription(kind: str) -> None:
    parent = {"subscription_details": {"subscription": "sub_1"}}
    about = event(kind, id="in_1", customer="cus_1", period_start=NOW, parent=parent)
    assert effect_of(about) == Effect(Change.RENEW, "cus_1", (), "sub_1", float(NOW))


@pytest.mark.parametrize(
    ("kind", "about"),
    [
        ("customer.subscription.deleted", {"id": "sub_1", "items": ITEMS}),
        ("customer.subscription.paused", {"id": "sub_1", "items": ITEMS}),
        ("invoice.payment_failed", {"id": "in_1", "subscription": "sub_1"}),
        ("checkout.session.expired", {"id": "cs_1", "subscription": "sub_1"}),
        ("checkout.session.async_payment_failed", {"id": "cs_1", "subscription": "sub_1"}),
    ],
)
def test_what_ends_or_fails_unlinks(kind: str, about: dict[str, Any]) -> None:
    effect = effect_of(event(kind, customer="cus_1", **about))
    assert effect is not None
    assert (effect.change, effect.subscription) == (Change.UNLINK, "sub_1")


def test_other_events_and_events_about_nobody_do_nothing() -> None:
    assert effect_of(event("charge.refunded", customer="cus_1")) is None
    assert effect_of(event("invoice.paid")) is None


NAMES = st.sampled_from(["id", "data", "price", "items", "product", "customer", "parent"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(st.sampled_from(["customer.subscription.created", "invoice.paid", "checkout.session.expired"]), JSON)
def test_no_shape_of_an_object_is_an_exception(kind: str, about: Any) -> None:
    effect_of(Event("evt_1", kind, {"object": about}))
