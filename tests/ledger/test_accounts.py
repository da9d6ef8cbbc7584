"""Holds, decided in memory: all or nothing, and never more than there is."""

from hypothesis import given
from hypothesis import strategies as st

from llmgate.ledger import Allotment, Demand, Hold, Price, Subject, Unit
from llmgate.ledger.accounts import Account, place_hold

from .ledgers import record


def account(room: int, unit: Unit = Unit.TOKENS, quota_id: int = 1) -> Account:
    allotment = Allotment(unit, room)
    return Account(quota_id, Subject("user", 1), allotment, "worker", 0.0, granted=room)


def held(hold: Hold | Account) -> Hold:
    assert isinstance(hold, Hold)
    return hold


def test_a_hold_takes_the_prompt_and_the_whole_answer() -> None:
    """What is left is for others."""
    mine = account(100)
    assert held(place_hold([mine], Demand(10, 20, choices=2))).max_output is None
    assert mine.room == 50


def test_an_answer_is_lowered_to_what_is_left_for_each_choice() -> None:
    """Rounded down, so that the choices together fit."""
    mine = account(31)
    assert held(place_hold([mine], Demand(10, 20, choices=2))).max_output == 10
    assert mine.room == 1


def test_a_hold_that_may_not_be_lowered_names_what_is_short() -> None:
    """So that more of it can be leased before the answer is cut."""
    mine, other = account(31), account(1000, quota_id=2)
    assert place_hold([other, mine], Demand(10, 50), lower=False) is mine
    assert (mine.held, other.held) == (0, 0)


def test_without_room_for_one_token_of_each_answer_nothing_is_held_anywhere() -> None:
    """All or none."""
    wide, narrow = account(1000), account(11, quota_id=2)
    assert place_hold([wide, narrow], Demand(10, 5, choices=2)) is narrow
    assert (wide.held, narrow.held) == (0, 0)


def test_a_request_without_a_bound_holds_all_that_is_left() -> None:
    """It is told how much that is."""
    mine = account(100)
    assert held(place_hold([mine], Demand(10, None), lower=False)).max_output == 90
    assert mine.room == 0


def test_a_request_without_quotas_is_not_bounded() -> None:
    """There is nothing to hold."""
    assert held(place_hold([], Demand(10, None))).max_output is None


def test_what_costs_nothing_may_be_had_with_an_empty_budget() -> None:
    """A budget counts money, not requests."""
    empty = account(0, Unit.MONEY)
    assert held(place_hold([empty], Demand(10, 1000))).max_output is None
    assert place_hold([empty], Demand(10, 1000, price=Price(0, 0.001))) is empty


def test_settling_charges_what_was_used_and_gives_the_rest_back() -> None:
    """Once: what comes after finds nothing to settle or release."""
    mine = account(100)
    hold = held(place_hold([mine], Demand(10, 50)))
    (charge,) = hold.settle(record(tokens=25))
    assert (charge.amount, charge.holder, mine.room) == (25, "worker", 75)
    assert hold.settle(record(tokens=25)) == ()
    hold.release()
    assert mine.room == 75


def test_what_was_released_is_not_charged() -> None:
    """A settlement that comes too late is a record without charges."""
    mine = account(100)
    hold = held(place_hold([mine], Demand(10, 50)))
    hold.release()
    assert hold.settle(record(tokens=25)) == ()
    assert mine.room == 100


def test_a_failed_request_costs_nothing() -> None:
    """Whatever its record counts."""
    for unit in (Unit.TOKENS, Unit.REQUESTS):
        mine = account(100, unit)
        assert held(place_hold([mine], Demand(10, 5))).settle(record(tokens=9, outcome="failed")) == ()
        assert mine.room == 100


def test_what_passed_is_charged_in_full_where_it_overruns_its_bound_reported_or_estimated() -> None:
    """Text that has passed proves that the hold was wrong: a guess is not cut to it, or who gets round a
    limit would be charged for the limit."""
    mine = account(100)
    hold = held(place_hold([mine], Demand(10, 20)))
    assert hold.settle(record(tokens=130))[0].amount == 130
    assert mine.room == -30
    mine = account(100)
    hold = held(place_hold([mine], Demand(10, 20)))
    assert hold.settle(record(tokens=130, certainty="estimated"))[0].amount == 130


def test_tokens_sold_by_number_are_charged_in_place_of_those_used() -> None:
    """See `UsageRecord.booked`."""
    hold = held(place_hold([account(100)], Demand(10, 20)))
    assert hold.settle(record(tokens=5, booked=12))[0].amount == 12


numbers = st.integers(0, 2**62)
prices = st.builds(
    Price,
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.none() | st.floats(0, 1000),
)
demands = st.builds(
    Demand, st.integers(0, 2**31), st.none() | st.integers(0, 2**31), st.integers(1, 128), prices
)


@given(st.lists(st.tuples(numbers, st.sampled_from(Unit)), max_size=4), st.lists(demands, max_size=8))
def test_no_account_is_ever_held_past_its_room(rooms: list[tuple[int, Unit]], wanted: list[Demand]) -> None:
    """Whatever the demands, units, prices and numbers; and what is released is all there again."""
    accounts = [account(room, unit, quota_id) for quota_id, (room, unit) in enumerate(rooms)]
    holds = []
    for demand in wanted:
        before = [one.held for one in accounts]
        hold = place_hold(accounts, demand)
        if isinstance(hold, Hold):
            holds.append(hold)
            if hold.max_output is not None:
                assert demand.output is None or hold.max_output < demand.output
                assert hold.max_output >= min(1, 1 if demand.output is None else demand.output)
        else:
            assert [one.held for one in accounts] == before
        assert all(one.room >= 0 for one in accounts)
    for hold in holds:
        hold.release()
    assert [one.held for one in accounts] == [0] * len(accounts)
