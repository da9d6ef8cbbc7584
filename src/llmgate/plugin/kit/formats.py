"""How guides write things: times, ids in paths, secrets that must not show, headers of answers with credentials."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, overload

from msgspec import Meta

from ..api import AnyCall, NotFound

MAX_ID = 2**63 - 1
MAX_SAFE_INTEGER = 2**53
"""What every JSON reader takes for a whole number (RFC 8259, 6)."""
MAX_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z: later years are no times in RFC 3339."""

RowId = Annotated[int, Meta(ge=0, le=MAX_ID)]
Line = Annotated[str, Meta(min_length=1, max_length=255)]
Prose = Annotated[str, Meta(max_length=10_000)]
TokenCount = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]

NO_STORE = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
"""Goes with every answer that holds a credential (RFC 6749, 5.1)."""


@overload
def rfc3339(seconds: float) -> str: ...
@overload
def rfc3339(seconds: None) -> None: ...
def rfc3339(seconds: float | None) -> str | None:
    """Seconds since the epoch as `2026-02-05T12:00:00Z` (RFC 3339): whole seconds, at the latest 9999-12-31."""
    return None if seconds is None else _utc(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


@overload
def naive_iso(seconds: float) -> str: ...
@overload
def naive_iso(seconds: None) -> None: ...
def naive_iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as `2026-02-05T12:00:00`: whole seconds in UTC, without a zone."""
    return None if seconds is None else _utc(seconds).strftime("%Y-%m-%dT%H:%M:%S")


def id_in_path(call: AnyCall, what: str, *, name: str = "id") -> int:
    """The number called `name` in the path. Raises `NotFound` for what no `what` can have."""
    text = call.path[name]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID):
        raise NotFound(f"There is no such {what}.")
    return int(text)


def _utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(min(seconds, MAX_TIME), dt.UTC)
