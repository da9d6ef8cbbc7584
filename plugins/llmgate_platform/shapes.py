"""What all parts of the surface share: how the guide writes errors, times and ids."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from llmgate.plugin.api import (
    ADMIN,
    Answer,
    AnyCall,
    BadRequest,
    MethodNotAllowed,
    NotFound,
    Principal,
    QuotaExhausted,
    RateLimited,
    Refusal,
    Unauthenticated,
    Unprocessable,
)

SURFACE = "platform"
LARGEST_ID = 2**63 - 1
NO_DATA = "JSON data required"


class Problem(Struct, frozen=True):
    """The body of every error."""

    error: str


class Missing(NotFound):
    """A thing that is not there, in the guide's words."""

    def __init__(self, message: str = "Resource not found") -> None:
        super().__init__(message)


class Invalid(BadRequest):
    """A value that a rule forbids."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Invalid value for {name}: {reason}", param=name)


def guides_shape(refusal: Refusal) -> Answer:
    """Errors as the guide's clients know them: `{"error": "..."}`."""
    status = 429 if isinstance(refusal, QuotaExhausted | RateLimited) else refusal.answer_status
    body = msgspec.json.encode(Problem(_text(refusal)))
    return status, [(b"content-type", b"application/json"), *refusal.headers], body


def _text(refusal: Refusal) -> str:
    text = refusal.message
    match refusal:
        case Unauthenticated():
            text = "API key required" if refusal.answer_code == "missing_api_key" else "Invalid API key"
        case QuotaExhausted() | RateLimited():
            text = "Rate limit exceeded"
        case Unprocessable():
            text = _unfit(refusal)
        case BadRequest() if text.startswith("body: "):
            text = NO_DATA
        case NotFound() if not isinstance(refusal, Missing):
            text = "Resource not found"
        case MethodNotAllowed():
            text = "Method not allowed"
    return text


def _unfit(refusal: Unprocessable) -> str:
    if refusal.is_missing:
        if not refusal.given:
            return NO_DATA
        return (
            "Prompt is required" if refusal.field == "prompt" else f"Missing required field: {refusal.field}"
        )
    reason = refusal.detail.replace("`", "")
    return f"Invalid value for {refusal.field}: {reason[:1].lower()}{reason[1:]}"


def iso(seconds: float) -> str:
    """A time as the guide writes it: UTC without a zone, six digits."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def iso_or_none(seconds: float | None) -> str | None:
    """`iso`, of a time that there may not be."""
    return None if seconds is None else iso(seconds)


def id_of(call: AnyCall) -> int:
    """The number in the path. Raises `Missing` for what no id can be."""
    text = call.path["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= LARGEST_ID):
        raise Missing
    return int(text)


def may_use(owner_id: int | None, caller: Principal) -> bool:
    """Whether what belongs to `owner_id` (None: everybody) is there for the caller."""
    return owner_id in (None, caller.user_id) or ADMIN in caller.roles
