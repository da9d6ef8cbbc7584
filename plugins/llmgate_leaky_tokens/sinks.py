"""Where events can go: a webhook, and a stream in Redis."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import httpx
from msgspec import Meta, Struct

from llmgate.plugin.api import BaseUrl, Secret

from .outbox import DeliveryFailed, Event

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT = 10.0
"""Seconds that a receiver gets."""
LONGEST_STREAM = 100_000
"""Events that the stream in Redis keeps, about."""


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """The table `[plugins.llmgate_leaky_tokens.webhook]`."""

    url: Annotated[BaseUrl, Meta(description="Receives each event as a POST.")]
    secret: Annotated[Secret, Meta(description="Signs the events; `whsec_` and base64, or any text.")]


class Webhook:
    """Posts events, signed as https://www.standardwebhooks.com wants it; any 2xx is thanks."""

    def __init__(
        self, http: httpx.AsyncClient, settings: WebhookSettings, *, clock: Callable[[], float]
    ) -> None:
        self._http = http
        self._url = settings.url
        self._key = signing_key(settings.secret.reveal())
        self._clock = clock

    async def deliver(self, event: Event) -> None:
        """See `Sink`."""
        sent_at = str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": sent_at,
            "webhook-signature": signature(self._key, event.id, sent_at, event.body),
        }
        try:
            answer = await self._http.post(
                self._url, content=event.body, headers=headers, timeout=TIMEOUT, follow_redirects=False
            )
        except httpx.HTTPError as error:
            raise DeliveryFailed(f"webhook: {type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise DeliveryFailed(f"webhook: status {answer.status_code}")


class RedisStream:
    """Adds events to the stream `name`: fields `id`, `type` and `body`."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name

    async def deliver(self, event: Event) -> None:
        """See `Sink`."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

        fields = {"id": event.id, "type": event.type, "body": event.body}
        try:
            await self._redis.xadd(self._name, fields, maxlen=LONGEST_STREAM)  # type: ignore[arg-type]
        except (RedisError, OSError) as error:
            raise DeliveryFailed(f"redis: {type(error).__name__}: {error}") from error


def signing_key(secret: str) -> bytes:
    """The key that `secret` stands for. Raises ValueError where what follows `whsec_` is no base64."""
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return secret.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error


def signature(key: bytes, event_id: str, sent_at: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = hmac.new(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode()
