"""What an answer tells of limits: where the tightest stands, and OpenAI's pairs of requests and of tokens."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from ..errors import Header

TIGHTEST: Final = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
PAIRS: Final = tuple(f"{name}-{what}" for what in ("requests", "tokens") for name in TIGHTEST)
LIMIT_HEADERS: Final = (*TIGHTEST, *PAIRS)
"""Every header that the gate tells of limits in."""

_TIGHTEST: Final = tuple(name.encode() for name in TIGHTEST)
_digits: Final = lru_cache(4096)(b"%d".__mod__)
"""Of what stands on many answers: limits, and the second in which a window ends."""
_PAIR: Final = {
    what: tuple(f"{name}-{what}".encode() for name in TIGHTEST) for what in ("requests", "tokens")
}


class Standing(msgspec.Struct, frozen=True):
    """Of `limit` requests or tokens (`what`) so many remain; all are there again in `left` seconds, if ever."""

    what: str
    limit: int
    remaining: int
    left: float

    def pair(self) -> list[Header]:
        """As OpenAI tells it: `x-ratelimit-limit-tokens` and so on; the reset is a duration (`6m0s`)."""
        return [*pair(self.what, self.limit, self.remaining, self.left).items()]

    def tightest(self, now: float) -> list[Header]:
        """As the tightest of all: the reset is in seconds since the epoch."""
        limit, remaining, reset = _TIGHTEST
        return [
            (limit, b"%d" % self.limit),
            (remaining, b"%d" % self.remaining),
            (reset, b"%d" % math.ceil(now + self.left)),
        ]


def pair(what: str, limit: int, remaining: int, left: float) -> dict[bytes, bytes]:
    """See `Standing.pair`."""
    of_limit, of_remaining, of_reset = _PAIR[what]
    found = {of_limit: _digits(limit), of_remaining: b"%d" % remaining}
    if left < math.inf:
        found[of_reset] = _duration(math.ceil(left))
    return found


def told(what: str, limit: int, remaining: int, left: float, now: float) -> dict[bytes, bytes]:
    """Both ways of telling where a window stands (see `Standing`), as every answer of a limited route has them."""
    limit_of_kind, remaining_of_kind, reset_of_kind = _PAIR[what]
    most, least = _digits(limit), b"%d" % remaining
    return {
        b"x-ratelimit-limit": most,
        b"x-ratelimit-remaining": least,
        b"x-ratelimit-reset": _digits(math.ceil(now + left)),
        limit_of_kind: most,
        remaining_of_kind: least,
        reset_of_kind: _duration(math.ceil(left)),
    }


def duration(seconds: float) -> bytes:
    """In Go's words, which OpenAI's resets have: 0s, 59s, 1m0s, 1h0m1s; rounded up to whole seconds."""
    return _duration(math.ceil(seconds))


@lru_cache(4096)
def _duration(seconds: int) -> bytes:
    minutes, whole = divmod(max(0, seconds), 60)
    if not minutes:
        return b"%ds" % whole
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, whole) if hours else b"%dm%ds" % (minutes, whole)
