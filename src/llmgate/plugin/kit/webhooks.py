"""Webhooks out and in, signed as https://www.standardwebhooks.com wants it, by the library of that standard."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import standardwebhooks
from msgspec import Meta, Struct

from ..api import BaseUrl, NotFound, Secret
from .outbox import DeliveryFailed, Event

if TYPE_CHECKING:
    import httpx
    from starlette.datastructures import Headers

TIMEOUT_S = 10.0
"""So long a receiver may take."""
MIN_KEY_BYTES = 24
"""Of a secret: the standard's lower bound. Who knows a webhook's secret can write the events."""


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """A table of gate.toml that names a webhook."""

    url: Annotated[BaseUrl, Meta(description="Receives each event as a POST.")]
    secret: Annotated[
        Secret, Meta(description="Signs the events; `whsec_` and base64, or any text: 24 bytes or more.")
    ]

    def check(self) -> None:
        """Raises ValueError for a secret that can be guessed, or that cannot be read."""
        if len(signing_key(self.secret.reveal())) < MIN_KEY_BYTES:
            raise ValueError(
                f"webhook.secret: a key has {MIN_KEY_BYTES} bytes or more, else it can be guessed: "
                "write one as `openssl rand -base64 32` makes them, after whsec_"
            )


class Webhook:
    """Posts events; any 2xx is thanks. A `Sink` of `kit.outbox`."""

    def __init__(
        self, http: httpx.AsyncClient, settings: WebhookSettings, *, clock: Callable[[], float]
    ) -> None:
        self._http = http
        self._url = settings.url
        self._signer = standardwebhooks.Webhook(signing_key(settings.secret.reveal()))
        self._clock = clock

    async def deliver(self, event: Event) -> None:
        """See `Sink`."""
        sent_at = dt.datetime.fromtimestamp(int(self._clock()), dt.UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._signer.sign(event.id, sent_at, event.body.decode()),
        }
        import httpx  # noqa: PLC0415 - whoever made the client has loaded it

        try:
            answer = await self._http.post(
                self._url, content=event.body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False
            )
        except httpx.HTTPError as error:
            raise DeliveryFailed(f"webhook: {type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise DeliveryFailed(f"webhook: status {answer.status_code}")


def verify(secret: str, headers: Headers | Mapping[str, str], body: bytes) -> None:
    """Raise `NotFound` unless `body` was signed with `secret` in the last five minutes.

    Nothing tells strangers that there is something to be guessed; an empty secret verifies nothing.
    """
    try:
        standardwebhooks.Webhook(signing_key(secret)).verify(body, dict(headers), json_parse=False)
    except (
        standardwebhooks.WebhookVerificationError,
        standardwebhooks.webhooks.EmptyWebhookSecretError,
        ValueError,
    ) as error:
        raise NotFound("Not found") from error


def signing_key(secret: str) -> bytes:
    """The key that `secret` stands for. Raises ValueError where what follows `whsec_` is no base64."""
    encoded = secret.removeprefix("whsec_")
    if encoded == secret:
        return secret.encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("what follows whsec_ is not base64") from error
