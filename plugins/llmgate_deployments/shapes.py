"""What all parts of the surface share: how the guide writes times and errors, and what a path or query names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Meta

from llmgate.plugin.api import Answer, AnyCall, Detail, NotFound, Refusal, UpstreamFailed, detail_shape

GUIDES_STATUS: Mapping[type[Refusal], int] = MappingProxyType({UpstreamFailed: 500})
"""Where the guide has one status of its own: a deployment that does not answer is a server error."""

LARGEST = 2**63 - 1

Id = Annotated[int, Meta(ge=0, le=LARGEST)]
Line = Annotated[str, Meta(min_length=1, max_length=255)]
Prose = Annotated[str, Meta(max_length=10_000)]


def guides_shape(refusal: Refusal) -> Answer:
    """Errors as the guide's clients know them: `{"detail": "..."}`."""
    status, headers, body = detail_shape(refusal)
    return GUIDES_STATUS.get(type(refusal), status), headers, body


def answers(status: int, success: Any, *refusals: int) -> dict[int, Any]:
    """The answers of an operation: what it gives, and the refusals besides those that any like it may meet."""
    return {status: success, **dict.fromkeys(refusals, Detail)}


def iso(seconds: float) -> str:
    """A time as the guide writes it: whole seconds in UTC, without a zone."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso_or_none(seconds: float | None) -> str | None:
    """`iso`, of a time that there may not be."""
    return None if seconds is None else iso(seconds)


def id_of(call: AnyCall, what: str) -> int:
    """The number in the path. Raises `NotFound` for what no `what` can have."""
    text = call.path["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST)) and int(text) <= LARGEST):
        raise NotFound(f"There is no such {what}.")
    return int(text)
