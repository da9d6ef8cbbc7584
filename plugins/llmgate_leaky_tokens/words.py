"""The guide's words: how it writes times and roles, and how its errors look."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import (
    Answer,
    ErrorShape,
    QuotaExhausted,
    RateLimited,
    Refusal,
    UpstreamFailed,
    json_answer,
)
from llmgate.plugin.kit.formats import rfc3339

Tokens = Annotated[int, Meta(ge=1, le=10_000)]
"""What one consumption may ask for."""
Lot = Annotated[int, Meta(ge=1, le=1_000_000)]
"""What one purchase may ask for."""


class Problem(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Every error; `wait_seconds` where a rate limit says when to come back."""

    message: str
    timestamp: str
    wait_seconds: int | None = None


class CircuitOpen(Struct, frozen=True):
    """The error while a provider, or the gate itself, is not available."""

    service: str
    status: str
    message: str
    timestamp: str


class InsufficientQuota(QuotaExhausted):
    """The quota does not cover what was asked for, or there is none."""

    def __init__(self) -> None:
        super().__init__("insufficient token quota", status=402)


class ProviderFailed(UpstreamFailed):
    """The provider could not be reached, broke off, or answered with an error or with nonsense."""

    def __init__(self) -> None:
        super().__init__("provider call failed")


class ProviderUnavailable(UpstreamFailed):
    """No replica of the provider is to be asked now: their circuits are open, or they are not healthy."""

    def __init__(self, provider: str, refusal: Refusal) -> None:
        message = f"{provider} is not available at the moment"
        super().__init__(message, status=503, headers=refusal.headers)
        self.service = provider


def roles_of(roles: Iterable[str]) -> list[str]:
    """The gate's roles as the guide has them: everybody is a USER."""
    return ["USER", *sorted(role.upper() for role in roles if role.upper() != "USER")]


def guides_shape(clock: Callable[[], float]) -> ErrorShape:
    """Errors with `message` and `timestamp`, those of status 503 with `service` and `status` as well."""

    def shape(refusal: Refusal) -> Answer:
        now = rfc3339(clock())
        body: Struct
        if refusal.answer_status == 503:
            service = getattr(refusal, "service", "gateway")
            body = CircuitOpen(service, "UNAVAILABLE", refusal.message, now)
        else:
            wait = refusal.retry_after if isinstance(refusal, RateLimited) else None
            body = Problem(refusal.message, now, wait)
        return json_answer(refusal, body)

    return shape
