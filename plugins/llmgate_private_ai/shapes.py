"""How the guide writes things: errors, times, and what its answers hold."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from llmgate.plugin.api import (
    BadRequest,
    Detail,
    NotFound,
    Refusal,
    Unprocessable,
    UnsupportedMediaType,
    detail_shape,
)
from llmgate.plugin.kit.shapes import filled, with_statuses

if TYPE_CHECKING:
    from .people import Person

LARGEST = 2**63 - 1
MILLION = 1_000_000

Id = Annotated[int, Meta(ge=0, le=LARGEST)]
Line = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=10_000)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Money = Annotated[float, Meta(ge=0, le=10**9)]

guides_shape = with_statuses(detail_shape, {Unprocessable: 422, UnsupportedMediaType: 400})
"""`{"detail": "..."}`, a string in every case; 422 for a body of another shape, 400 for neither form nor JSON."""


class LimitReached(Refusal):
    """A plan does not have room for one more."""

    status = 402
    type = "insufficient_quota"
    code = "plan_limit"
    reason = "quota"


class RegionFailed(Refusal):
    """The server of a region did not do what it was asked."""

    status = 500
    code = "region_failed"
    reason = "upstream"


class MailRefused(Refusal):
    """A mail that has to go out now cannot."""

    status = 500
    code = "mail_failed"
    reason = "unavailable"


def answers(status: int, success: Any, *refusals: int) -> dict[int, Any]:
    """What an operation gives, and the refusals besides those that any like it may meet."""
    return {status: success, **dict.fromkeys(refusals, Detail)}


def iso(seconds: float) -> str:
    """A time as ISO 8601 with its zone."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


def iso_or_none(seconds: float | None) -> str | None:
    """`iso`, of a time that there may not be."""
    return None if seconds is None else iso(seconds)


def money_of(millionths: int | None) -> float | None:
    """Money as the guide writes it."""
    return None if millionths is None else millionths / MILLION


def id_in(text: str, what: str) -> int:
    """The number in a path. Raises `NotFound` for what no `what` can have."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)) and int(text) <= LARGEST):
        raise NotFound(f"{what} not found")
    return int(text)


def unfit(message: str, param: str | None = None) -> BadRequest:
    """A value of a body or query that does not fit its type."""
    return BadRequest(message, status=422, param=param)


class Message(Struct, frozen=True):
    """A word."""

    message: str


class ShownUser(Struct, frozen=True):
    """A user."""

    id: int
    email: str
    is_active: bool
    is_admin: bool
    team_id: int | None
    team_name: str | None
    role: str | None

    @classmethod
    def of(cls, person: Person) -> ShownUser:
        """As the API shows them."""
        return filled(cls, person)
