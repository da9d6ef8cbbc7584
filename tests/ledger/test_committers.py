"""What goes into the database in one transaction, whatever the database and however many entries it has."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from llmgate.errors import StoreError
from llmgate.ledger.commit import Committer
from llmgate.ledger.model import Charge, Entry
from llmgate.ledger.sqlite import BLOCK, MAX_ROWS
from llmgate.ledger.statements import RECORD_COLUMNS
from llmgate.store import Store
from llmgate.store.schema import leases, quotas, usage
from llmgate.usage.model import Certainty

from .ledgers import committer_for, record, records

DAY = 86_400.0
TODAY = 20_833 * DAY
QUOTAS = MAX_ROWS + 4


@pytest.fixture
async def committer(store: Store) -> AsyncIterator[Committer]:
    """On a store with some quotas, of whose window worker "w" has leased something."""
    async with store.begin() as db:
        for number in range(1, QUOTAS + 1):
            quota = {"id": number, "subject_kind": "user", "subject_id": number, "unit": "tokens"}
            window = {"window": "day", "window_start": TODAY, "updated_at": 0.0}
            await db.execute(quotas.insert().values({**quota, **window}))
            lease = {"quota_id": number, "worker_id": "w", "window_start": TODAY, "granted": 1000}
            await db.execute(leases.insert().values(lease))
    opened = committer_for(store)()
    yield opened
    await opened.aclose()


def entry(name: str, *amounts: int, window: float = TODAY, **others: object) -> Entry:
    """A request that takes these amounts from the first quotas."""
    charges = (Charge(number, window, amount, "w") for number, amount in enumerate(amounts, 1))
    return Entry(record(name, 0, **others), tuple(charges))


async def booked(store: Store) -> tuple[list[int], list[int]]:
    """What is used of every quota, and spent of every lease."""
    async with store.connect() as db:
        used = await db.scalars(sa.select(quotas.c.used).order_by(quotas.c.id))
        spent = await db.scalars(sa.select(leases.c.spent).order_by(leases.c.quota_id))
        return list(used), list(spent)


@pytest.mark.parametrize("number", [1, 2, MAX_ROWS, MAX_ROWS + 1, BLOCK + MAX_ROWS + 1])
@pytest.mark.parametrize("touched", [0, 1, QUOTAS])
async def test_every_record_is_written_and_charged(
    committer: Committer, store: Store, number: int, touched: int
) -> None:
    """Fewer quotas than requests, or more; one statement, or several."""
    await committer.commit([entry(str(each), *([each + 1] * touched)) for each in range(number)])
    assert (await records(store)).keys() == {str(each) for each in range(number)}
    total = number * (number + 1) // 2
    sums = [total] * touched + [0] * (QUOTAS - touched)
    assert await booked(store) == (sums, sums)


async def test_a_record_comes_back_as_it_was(committer: Committer, store: Store) -> None:
    """To the last digit, and words for the members of enums; alone, and together with a charge."""
    unusual = {
        "at": 1_800_000_000.123_456_7,
        "duration": 0.1 + 0.2,
        "first_byte": None,
        "certainty": Certainty.PARTIAL,
        "output_tokens": 2**62,
        "model": "größer\n'\"\\ {NULL},",
        "asked_model": "NULL",
        "booked": 0,
    }
    entries = [entry("free", **unusual), entry("charged", 1, **unusual)]
    for one in entries:
        await committer.commit([one])
    async with store.connect() as db:
        found = (await db.execute(sa.select(usage))).mappings().all()
    stored = {row["request_id"]: [row[name] for name in RECORD_COLUMNS] for row in found}
    for one in entries:
        assert stored[one.record.request_id] == [getattr(one.record, name) for name in RECORD_COLUMNS]


@pytest.mark.parametrize("others", [0, 2 * MAX_ROWS])
async def test_of_records_with_one_id_the_first_counts(
    committer: Committer, store: Store, others: int
) -> None:
    """In one group, in two, and next to those that are new."""
    await committer.commit([entry("a", 1), entry("a", 10)])
    await committer.commit(
        [entry("a", 100), entry("b", 1000), *(entry(str(each), 1) for each in range(others))]
    )
    await committer.commit([entry("a", 1)])
    assert len(await records(store)) == 2 + others
    used, spent = await booked(store)
    assert used[0] == spent[0] == 1001 + others


@pytest.mark.parametrize("number", [2, 2 * MAX_ROWS, BLOCK])
async def test_a_group_with_a_bad_entry_leaves_nothing(
    committer: Committer, store: Store, number: int
) -> None:
    """And is no trouble for the next."""
    good = [entry(str(each), 1) for each in range(number)]
    with pytest.raises(Exception, match=r"out of|int|large"):
        await committer.commit([*good, entry("bad", 1, input_tokens=2**63)])
    assert (await records(store), await booked(store)) == ({}, ([0] * QUOTAS, [0] * QUOTAS))
    await committer.commit(good)
    assert len(await records(store)) == number


async def test_a_window_that_is_over_is_not_charged(committer: Committer, store: Store) -> None:
    """The one that follows it is another account."""
    await committer.commit([entry("a", 1, window=TODAY - DAY)])
    assert await booked(store) == ([0] * QUOTAS, [0] * QUOTAS)
    assert (await records(store)).keys() == {"a"}


async def test_writers_at_the_same_time_charge_the_same_quotas_exactly(
    committer: Committer, store: Store
) -> None:
    """Each finds what the others have just written, none waits for another for ever."""
    others = [committer_for(store)() for _ in range(3)]

    async def write(writer: Committer, name: int) -> None:
        for number in range(10):
            await _insist(writer, [entry(f"{name}-{number}-{each}", 1, 2, 3) for each in range(4)])

    await asyncio.gather(*(write(writer, name) for name, writer in enumerate([committer, *others])))
    for other in others:
        await other.aclose()
    assert len(await records(store)) == 160
    sums = [160, 320, 480] + [0] * (QUOTAS - 3)
    assert await booked(store) == (sums, sums)


async def _insist(writer: Committer, entries: list[Entry]) -> None:
    """As `GroupCommit` does: SQLite's file may be locked by another writer for longer than these tests wait."""
    while True:
        try:
            return await writer.commit(entries)
        except StoreError:
            await asyncio.sleep(0)
