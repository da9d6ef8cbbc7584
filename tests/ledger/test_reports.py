"""Reading the ledger: totals, groups, single records, each by any filter."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmgate.ledger import Filter, Ledger, Reports, Totals
from llmgate.store import Store

from .ledgers import open_ledger, record

DAY = 86_400.0
START = 20_000 * DAY


@pytest.fixture
async def reports(store: Store, tmp_path: Path) -> AsyncIterator[Reports]:
    async with open_ledger(store, tmp_path / "workers") as ledger:
        await fill(ledger)
        yield Reports(store)


async def fill(ledger: Ledger) -> None:
    """Two users over two days; one request failed."""
    for number, (user, day, tokens) in enumerate([(1, 0, 10), (1, 1, 20), (2, 1, 40)]):
        at = START + day * DAY + number
        await ledger.settle(record(f"r-{number}", tokens, user_id=user, at=at, cost=tokens, input_tokens=1))
    await ledger.settle(record("r-3", 0, user_id=2, at=START + 5, outcome="failed", model="other"))


async def test_totals_of_what_matches(reports: Reports) -> None:
    assert await reports.totals(Filter()) == Totals(4, 3, 70, 70)
    assert await reports.totals(Filter(user_id=1)) == Totals(2, 2, 30, 30)
    assert await reports.totals(Filter(user_id=9)) == Totals(0, 0, 0, 0)
    assert (await reports.totals(Filter(outcome="finished"))).tokens == 73


async def test_since_is_inclusive_and_until_is_not(reports: Reports) -> None:
    second = START + DAY + 1
    assert (await reports.totals(Filter(since=second))).requests == 2
    assert (await reports.totals(Filter(until=second))).requests == 2


async def test_groups_begin_with_the_most_tokens_and_days_with_the_latest(reports: Reports) -> None:
    by_user = await reports.grouped("user_id", Filter())
    assert [(user, totals.tokens) for user, totals in by_user] == [(2, 41), (1, 32)]
    by_day = await reports.grouped("day", Filter())
    assert [(day, totals.requests) for day, totals in by_day] == [(START + DAY, 2), (START, 2)]
    assert len(await reports.grouped("user_id", Filter(), limit=1)) == 1


async def test_records_come_newest_first_and_whole(reports: Reports) -> None:
    found = await reports.records(Filter(user_id=1))
    assert [one.request_id for one in found] == ["r-1", "r-0"]
    assert found[1] == record("r-0", 10, user_id=1, at=START, cost=10, input_tokens=1)
    assert len(await reports.records(Filter(), limit=2)) == 2
