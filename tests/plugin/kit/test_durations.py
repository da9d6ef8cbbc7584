"""Durations: what clients write, what it means, and what is none."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.plugin.api import BadRequest
from llmgate.plugin.kit.durations import Duration, days

DAY = 86_400
FIFTEENTH = dt.datetime(2027, 1, 15, 8, 30, 15, 250_000, dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("written", "seconds", "text"),
    [
        ("60s", 60, "60s"),
        ("15m", 900, "15m"),
        ("24h", DAY, "24h"),
        ("30d", 30 * DAY, "30d"),
        (30, 30 * DAY, "30d"),
        ("30", 30 * DAY, "30d"),
        (" 30D ", 30 * DAY, "30d"),
        ("0d", 0, "0d"),
        ("hourly", 3600, "1h"),
        ("daily", DAY, "24h"),
        ("weekly", 7 * DAY, "7d"),
        ("monthly", 30 * DAY, "30d"),
    ],
)
def test_seconds_minutes_hours_days_and_words(written: str | int, seconds: int, text: str) -> None:
    duration = Duration.parse(written)
    assert (duration.after(1000.5), duration.text) == (1000.5 + seconds, text)
    assert duration.nominal == seconds


@pytest.mark.parametrize(
    ("start", "written", "end"),
    [
        ("2027-01-15", "1mo", "2027-02-15"),
        ("2027-01-31", "1mo", "2027-02-28"),
        ("2028-01-31", "1mo", "2028-02-29"),
        ("2027-12-31", "2mo", "2028-02-29"),
        ("2028-02-29", "1y", "2029-02-28"),
        ("2027-06-30", "12mo", "2028-06-30"),
    ],
)
def test_months_and_years_are_those_of_the_calendar(start: str, written: str, end: str) -> None:
    begins = dt.datetime.fromisoformat(f"{start}T23:59:59+00:00")
    ends = dt.datetime.fromisoformat(f"{end}T23:59:59+00:00")
    assert Duration.parse(written).after(begins.timestamp()) == ends.timestamp()


@pytest.mark.parametrize(("written", "seconds"), [("1mo", 30 * DAY), ("1y", 365 * DAY), ("14mo", 425 * DAY)])
def test_their_nominal_length(written: str, seconds: int) -> None:
    assert Duration.parse(written).nominal == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "d",
        "-1d",
        "1.5d",
        "1 d",
        "1w",
        "1d1h",
        "yearly",
        "٣d",
        "1e3s",
        "999999999d",
        "9999mo",
        "x" * 99,
        -3,
    ],
)
def test_anything_else_is_refused_as_422(written: str | int) -> None:
    with pytest.raises(BadRequest, match="is no duration") as refused:
        Duration.parse(written)
    assert refused.value.answer_status == 422


@given(st.integers(1, 1200), st.floats(0, 4e9))
def test_a_month_later_is_later_and_never_by_more_than_its_days(months: int, moment: float) -> None:
    after = Duration.parse(f"{months}mo").after(moment)
    assert 28 * months * DAY <= after - moment + 1e-3
    assert after - moment - 1e-3 <= 31 * months * DAY


def test_days() -> None:
    assert days(30) == Duration.parse("30d")
    assert Duration.parse("1mo").after(FIFTEENTH) == FIFTEENTH + 31 * DAY
