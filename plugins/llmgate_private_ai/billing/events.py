"""What Stripe says by events, and what follows for a team (https://docs.stripe.com/api/events/types).

An event is believed only with a signature of the endpoint's secret over its raw body, not older than five minutes
(https://docs.stripe.com/webhooks/signature). Nothing here does input or output.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

TOLERANCE_S = 300
MAX_SIGNATURES = 20


class BadSignature(Exception):
    """The body was not signed by Stripe, or too long ago."""


def verify(raw: bytes, header: str | None, secret: str, *, now: float) -> None:
    """Raise `BadSignature` unless `header` (`t=...,v1=...`) signs `raw` with `secret`. An empty one never does."""
    if not secret or not header:
        raise BadSignature
    pairs = [part.partition("=")[::2] for part in header.split(",")]
    times = [value for name, value in pairs if name.strip() == "t"]
    signatures = [value for name, value in pairs if name.strip() == "v1"][:MAX_SIGNATURES]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise BadSignature
    expected = signature_of(raw, secret, at=times[0])
    good = [hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures]
    if not any(good) or abs(now - int(times[0])) > TOLERANCE_S:
        raise BadSignature


def signature_of(raw: bytes, secret: str, *, at: str) -> str:
    """Stripe's signature of a body, in hexadecimal; `at` is the time as the header has it."""
    return hmac.new(secret.encode(), at.encode() + b"." + raw, hashlib.sha256).hexdigest()


class Event(msgspec.Struct, frozen=True):
    """One event as it came. `data["object"]` is what it is about."""

    id: str
    type: str
    data: dict[str, Any]
    created: float = 0.0


def parse(raw: bytes) -> Event:
    """The event in a body. Raises `msgspec.DecodeError`."""
    return msgspec.json.decode(raw, type=Event)


class Change(StrEnum):
    """What an event does to a team."""

    LINK = "link"
    """It has the products from now on; the period began at `since`."""
    RENEW = "renew"
    """A period was paid for, which began at `since`."""
    UNLINK = "unlink"
    """It has the products no more, unless another live subscription of Stripe's says so."""


@dataclass(frozen=True, slots=True)
class Effect:
    """`customer` says which team. Where `products` is empty, Stripe has to be asked what `subscription` is for."""

    change: Change
    customer: str
    products: tuple[str, ...] = ()
    subscription: str | None = None
    since: float | None = None


CHANGES: Mapping[str, Change] = {
    "customer.subscription.created": Change.LINK,
    "customer.subscription.resumed": Change.LINK,
    "invoice.paid": Change.RENEW,
    "invoice.payment_succeeded": Change.RENEW,
    "customer.subscription.deleted": Change.UNLINK,
    "customer.subscription.paused": Change.UNLINK,
    "invoice.payment_failed": Change.UNLINK,
    "checkout.session.expired": Change.UNLINK,
    "checkout.session.async_payment_failed": Change.UNLINK,
}
"""Every type that does something; any other one is taken and ignored."""


def effect_of(event: Event) -> Effect | None:
    """What follows from an event; None if nothing does: another type, or about nobody that could be a team."""
    change = CHANGES.get(event.type)
    about = _mapping(event.data.get("object"))
    customer = _id(about.get("customer"))
    if change is None or customer is None:
        return None
    is_subscription = event.type.startswith("customer.subscription.")
    subscription = _id(about.get("id")) if is_subscription else _subscription_of(about)
    since = about.get("start_date" if change is Change.LINK else "period_start")
    return Effect(
        change,
        customer,
        tuple(dict.fromkeys(products_of(about))),
        subscription,
        float(since) if isinstance(since, int | float) and not isinstance(since, bool) else None,
    )


def products_of(subscription: Mapping[str, Any]) -> Iterator[str]:
    """The products of a subscription's items: `price.product`, or `plan.product` where there are no prices yet."""
    items = _mapping(subscription.get("items")).get("data")
    for item in items if isinstance(items, list) else ():
        price, plan = _mapping(item).get("price"), _mapping(item).get("plan")
        product = _id(_mapping(price).get("product")) or _id(_mapping(plan).get("product"))
        if product is not None:
            yield product


def _subscription_of(about: Mapping[str, Any]) -> str | None:
    """Of an invoice (its `parent`, since API version 2025-03-31; before, itself) or a checkout session."""
    details = _mapping(_mapping(about.get("parent")).get("subscription_details"))
    return _id(details.get("subscription")) or _id(about.get("subscription"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str | None:
    """An id, or the id of an object that was expanded."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None
