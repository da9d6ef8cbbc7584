"""The words of the ledger: windows and periods, what is left of an allotment, and what a pledge comes to."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.ledger import Allotment, Balance, Subject, Unit, Window
from llmgate.ledger.model import Pledge

from .ledgers import record

NOON = dt.datetime(2026, 2, 5, 12, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0
MIDNIGHT = NOON - DAY / 2


@pytest.mark.parametrize(
    ("written", "shown", "seconds"),
    [
        ("none", "none", None),
        ("day", "day", None),
        ("month", "month", None),
        ("30d", "30d", 30 * 86_400),
        ("24h", "1d", 86_400),
        ("25h", "25h", 90_000),
        ("60m", "1h", 3600),
        ("90s", "90s", 90),
    ],
)
def test_a_window_is_written_in_one_way(written: str, shown: str, seconds: int | None) -> None:
    """So that a quota for 24 hours and one for a day of 24 hours are the same."""
    assert (Window(written), Window(written).seconds) == (shown, seconds)


@pytest.mark.parametrize(
    "bad", ["", "week", "0d", "-1d", "1.5h", "30 d", "d", "30D", "1000000000s", "99999d"]
)
def test_what_is_no_window_is_named_with_what_is_one(bad: str) -> None:
    with pytest.raises(ValueError, match=r"none, day, month|a period lasts"):
        Window(bad)


def test_windows_of_the_calendar_begin_at_midnight_utc() -> None:
    assert Window.NONE.bounds(NOON) == (0.0, float("inf"))
    assert Window.DAY.bounds(NOON) == (MIDNIGHT, MIDNIGHT + DAY)
    february = dt.datetime(2026, 2, 1, tzinfo=dt.UTC).timestamp()
    assert Window.MONTH.bounds(NOON) == (february, february + 28 * DAY)


def test_periods_are_counted_from_their_anchor() -> None:
    """Forward and, for a clock that was set back, backward."""
    window = Window("30d")
    assert window.bounds(NOON, anchor=NOON) == (NOON, NOON + 30 * DAY)
    assert window.bounds(NOON + 30 * DAY, anchor=NOON) == (NOON + 30 * DAY, NOON + 60 * DAY)
    assert window.bounds(NOON - 1, anchor=NOON) == (NOON - 30 * DAY, NOON)


@given(
    anchor=st.floats(0, 4e9),
    seconds=st.integers(1, 10**8),
    number=st.integers(-5, 2000),
    late=st.floats(0, 1, exclude_max=True),
)
def test_every_moment_lies_in_one_period_and_the_next_begins_at_its_end(
    anchor: float, seconds: int, number: int, late: float
) -> None:
    """To the bit: two workers that ask at different moments of a period must agree on when it began."""
    window = Window.of(seconds)
    for now in (anchor + number * seconds, anchor + (number + late) * seconds):
        start, end = window.bounds(now, anchor)
        assert start <= now < end
        assert window.bounds(start, anchor) == (start, end)
        assert window.bounds(end, anchor)[0] == end


def test_what_has_expired_is_nothing() -> None:
    allotment = Allotment(Unit.TOKENS, 100, overdraft=10, expires_at=NOON)
    assert (allotment.most(NOON - 1), allotment.most(NOON)) == (110, 0)
    balance = Balance(1, Subject("user", 1), allotment, 30, 0.0, float("inf"))
    assert balance.remaining == 70
    assert Balance(1, Subject("user", 1), allotment, 30, 0.0, float("inf"), expired=True).remaining == 0


@pytest.mark.parametrize(
    ("unit", "fields", "spent"),
    [
        ("tokens", {}, 18),
        ("tokens", {"booked": 50}, 50),
        ("requests", {}, 1),
        ("money", {}, 29),
        ("tokens", {"outcome": "failed"}, 0),
        ("requests", {"outcome": "refused"}, 0),
        ("tokens", {"outcome": "lost", "status": 200}, 18),
        ("requests", {"outcome": "lost", "status": 200}, 1),
        ("tokens", {"outcome": "lost", "status": 0, "booked": 50}, 0),
        ("requests", {"outcome": "lost", "status": 0}, 0),
    ],
)
def test_what_a_pledge_comes_to(unit: str, fields: dict[str, object], spent: int) -> None:
    """A request that was lost before its answer began has used nothing, and is charged nothing."""
    used = record("r-1", 11, input_tokens=7, cost=29, **fields)
    assert Pledge(1, 0.0, unit).spent(used) == spent
