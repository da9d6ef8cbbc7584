"""Lengths of time as clients write them: `30d`, `24h`, `1mo`, `monthly`, or a number of days."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass
from types import MappingProxyType

from ..api import BadRequest

_SECONDS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400})
_WORDS = MappingProxyType({"hourly": "1h", "daily": "24h", "weekly": "7d", "monthly": "30d"})
_WRITTEN = re.compile(r"([0-9]{1,9})(s|mo|m|h|d|y)")

MAX_SECONDS = 100 * 366 * 86_400
"""Seconds: nobody means more than a hundred years."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A number of seconds, or of calendar months (`months` is 0, then). `text` is how it is written."""

    text: str
    seconds: int = 0
    months: int = 0

    @classmethod
    def parse(cls, written: str | int) -> Duration:
        """Read `Ns`, `Nm`, `Nh`, `Nd`, `Nmo`, `Ny`, a word, or a bare number of days.

        Raises `BadRequest` (as 422) for anything else, and for more than a hundred years.
        """
        text = str(written).strip().lower()
        text = _WORDS.get(text, f"{text}d" if text.isascii() and text.isdigit() else text)
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise _unreadable(written)
        number, unit = int(match[1]), match[2]
        if unit in _SECONDS:
            duration = cls(text, seconds=number * _SECONDS[unit])
        else:
            duration = cls(text, months=number * (12 if unit == "y" else 1))
        if duration.seconds > MAX_SECONDS or duration.months > MAX_SECONDS // (30 * 86_400):
            raise _unreadable(written)
        return duration

    def after(self, moment: float) -> float:
        """The time (seconds since the epoch) that is this long after `moment`, in UTC.

        A month ends on the same day of the next one, or on its last: 31 January + `1mo` is 28 February.
        """
        if not self.months:
            return moment + self.seconds
        start = dt.datetime.fromtimestamp(moment, dt.UTC)
        months = start.month - 1 + self.months
        year, month = start.year + months // 12, months % 12 + 1
        day = min(start.day, calendar.monthrange(year, month)[1])
        return start.replace(year=year, month=month, day=day).timestamp()

    @property
    def nominal(self) -> int:
        """Whole seconds, with 30 days for a month and 365 for a year."""
        years, months = divmod(self.months, 12)
        return self.seconds + (years * 365 + months * 30) * _SECONDS["d"]


def days(number: int) -> Duration:
    """So many days."""
    return Duration(f"{number}d", seconds=number * _SECONDS["d"])


def _unreadable(written: object) -> BadRequest:
    return BadRequest(
        f"{str(written)[:40]!r} is no duration: write 30d, 24h, 15m, 60s, 1mo or 1y",
        status=422,
        param="duration",
    )
