"""The ledger's contract, the same on SQLite and PostgreSQL: hard limits, exact books, several workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from stores import Clock, counting

from llmgate.errors import QuotaExhausted
from llmgate.ledger import Default, Demand, Filter, Ledger, Price, Quotas, Reports, Subject, Unit, Window
from llmgate.ledger.ledger import GATHER_S
from llmgate.ledger.model import MAX_AMOUNT, Allotment
from llmgate.store import Store
from llmgate.store.schema import leases as leases_table
from llmgate.store.schema import quotas as quotas_table

from .ledgers import (
    ANN,
    BOB,
    KEY,
    Timer,
    draft,
    leased,
    open_ledger,
    record,
    records,
    reserve,
    spend,
    tokens,
    until,
    used,
)

DAY = 86_400.0


@pytest.fixture
async def ledger(store: Store, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(store, tmp_path / "workers") as opened:
        yield opened


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another worker is about to give back is waited for, however slow the machine is."""
    for name in ("LEASE_TRIES", "HELD_TRIES"):
        monkeypatch.setattr(f"llmgate.ledger.reservations.{name}", 10**9)


@pytest.fixture
async def two(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Ledger, Ledger]]:
    """Two workers on one store."""
    async with AsyncExitStack() as stack:
        yield tuple(
            [await stack.enter_async_context(open_ledger(store, tmp_path / "workers")) for _ in range(2)]
        )


async def test_what_is_settled_is_in_the_database_with_its_charge(ledger: Ledger, store: Store) -> None:
    """The record and what it costs, together, when `settle` returns."""
    await Quotas(store).set(ANN, tokens(100))
    await spend(ledger, "a", await reserve(ledger, 50), 30)
    assert (await records(store), await used(store)) == ({"a": (30, "finished")}, [30])


async def test_a_request_draws_on_every_quota_it_touches_or_on_none(ledger: Ledger, store: Store) -> None:
    """The tightest decides; the others are left as they were."""
    await Quotas(store).set(ANN, tokens(100))
    await Quotas(store).set(KEY, tokens(10))
    hold = await reserve(ledger, 50, ANN, KEY)
    assert hold.max_output == 10
    await spend(ledger, "a", hold, 10)
    with pytest.raises(QuotaExhausted, match="quota of this key is used up: 10 tokens, 0 left"):
        await reserve(ledger, 1, ANN, KEY)
    assert await used(store) == [10, 10]
    assert (await reserve(ledger, 90)).max_output is None


async def test_concurrent_requests_never_hold_more_than_the_limit(ledger: Ledger, store: Store) -> None:
    """A hundred at once on an account that nobody has seen yet: as many pass as fit."""
    await Quotas(store).set(ANN, tokens(100))
    holds = await asyncio.gather(*[reserve(ledger, 7) for _ in range(100)], return_exceptions=True)
    granted = [hold for hold in holds if not isinstance(hold, BaseException)]
    assert sorted(hold.parts[0][1] for hold in granted) == [2] + [7] * 14, "in whatever order they came"
    await asyncio.gather(*[spend(ledger, str(i), hold, 2) for i, hold in enumerate(granted)])
    assert await used(store) == [30]
    assert (await reserve(ledger, 70)).max_output is None


async def test_a_request_id_is_charged_once(ledger: Ledger, store: Store) -> None:
    """Settled twice, settled by two, or settled again in the same group: the first record stands."""
    await Quotas(store).set(ANN, tokens(100))
    first, second = await reserve(ledger, 20), await reserve(ledger, 20)
    slot = ledger.begin(draft("a"), first)
    await asyncio.gather(spend(ledger, "a", first, 5, slot), spend(ledger, "a", second, 9))
    await spend(ledger, "a", first, 7, slot)
    assert (await records(store), await used(store)) == ({"a": (5, "finished")}, [5])


async def test_a_record_without_quota_is_written_all_the_same(ledger: Ledger, store: Store) -> None:
    """Accounting needs no limits."""
    await spend(ledger, "a", None, 5)
    await spend(ledger, "b", await reserve(ledger, 10**9), 6)
    assert await records(store) == {"a": (5, "finished"), "b": (6, "finished")}


async def test_an_operator_changes_a_limit_while_requests_run(ledger: Ledger, store: Store) -> None:
    """Raised, lowered under what is spent, removed: it holds for the next request, and holds are kept."""
    quotas = Quotas(store)
    balance = await quotas.set(ANN, tokens(100))
    running = await reserve(ledger, 60)
    await quotas.set(ANN, tokens(200))
    second = await reserve(ledger, 200)
    assert second.max_output == 140
    second.release()
    await quotas.set(ANN, tokens(50))
    with pytest.raises(QuotaExhausted):
        await reserve(ledger, 1)
    await spend(ledger, "a", running, 20)
    assert (await reserve(ledger, 40)).max_output == 30
    await quotas.remove(balance.quota_id)
    assert (await reserve(ledger, 10**6)).max_output is None
    await quotas.set(ANN, tokens(100))
    assert (await reserve(ledger, 100)).max_output == 50, "20 are spent, 30 still held"
    assert await used(store) == [20]


async def test_a_reset_starts_the_window_over(ledger: Ledger, store: Store) -> None:
    """What is being held stays held."""
    balance = await Quotas(store).set(ANN, tokens(100))
    await spend(ledger, "a", await reserve(ledger, 100), 100)
    with pytest.raises(QuotaExhausted):
        await reserve(ledger, 1)
    await Quotas(store).reset(balance.quota_id)
    assert (await reserve(ledger, 200)).max_output == 100


async def test_defaults_hold_for_everybody_apart(store: Store, tmp_path: Path) -> None:
    """Each subject has an account of its own; one with a quota for the same thing has that instead."""
    defaults = [Default("user", tokens(10))]
    await Quotas(store, defaults).set(BOB, tokens(20))
    async with open_ledger(store, tmp_path, defaults=defaults) as ledger:
        assert [(await reserve(ledger, 99, who)).max_output for who in (ANN, BOB, KEY)] == [10, 20, None]
        ledger.set_defaults([Default("user", tokens(15))])
        assert (await reserve(ledger, 99, ANN)).max_output == 5
        ledger.set_defaults([])
        assert (await reserve(ledger, 99, ANN)).max_output is None


async def test_a_window_that_turns_starts_from_zero(ledger: Ledger, store: Store, clock: Clock) -> None:
    """What was admitted before counts for the old window, and what it held does not come back to the new."""
    await Quotas(store).set(ANN, tokens(100, window=Window.DAY))
    running, forgotten = await reserve(ledger, 60), await reserve(ledger, 40)
    clock.pass_by(DAY)
    fresh = await reserve(ledger, 100)
    assert fresh.max_output is None
    forgotten.release()
    await spend(ledger, "old", running, 60)
    with pytest.raises(QuotaExhausted):
        await reserve(ledger, 1)
    await spend(ledger, "new", fresh, 30)
    assert await used(store) == [30]


async def test_a_clock_that_goes_back_brings_nothing_back(ledger: Ledger, store: Store, clock: Clock) -> None:
    """Over midnight and back again is no second allowance."""
    await Quotas(store).set(ANN, tokens(100, window=Window.DAY))
    await spend(ledger, "a", await reserve(ledger, 100), 70)
    clock.pass_by(DAY)
    await spend(ledger, "b", await reserve(ledger, 100), 80)
    clock.pass_by(-DAY)
    assert (await reserve(ledger, 100)).max_output == 20


async def test_a_window_that_a_wrong_clock_opened_is_closed_again(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    """Years ahead, and right again after a restart: the days go on, with what was used."""
    await Quotas(store).set(ANN, tokens(100, window=Window.DAY))
    clock.pass_by(1000 * DAY)
    async with open_ledger(store, tmp_path) as ledger:
        await spend(ledger, "a", await reserve(ledger, 100), 80)
    clock.pass_by(-1000 * DAY)
    async with open_ledger(store, tmp_path) as ledger:
        assert (await reserve(ledger, 100)).max_output == 20
        clock.pass_by(DAY)
        assert (await reserve(ledger, 100)).max_output is None


async def test_the_largest_numbers_fit(ledger: Ledger, store: Store) -> None:
    """Limit and overdraft of 2**62 each."""
    await Quotas(store).set(ANN, tokens(MAX_AMOUNT, overdraft=MAX_AMOUNT - 1))
    hold = await reserve(ledger, 2 * MAX_AMOUNT - 1)
    assert hold.max_output is None
    await spend(ledger, "a", hold, MAX_AMOUNT)
    assert await used(store) == [MAX_AMOUNT]
    assert (await reserve(ledger, MAX_AMOUNT)).max_output == MAX_AMOUNT - 1


async def test_an_overrun_is_owed_once(ledger: Ledger, store: Store) -> None:
    """A backend that ignores max_tokens takes the account past its limit, and not twice."""
    await Quotas(store).set(ANN, tokens(100))
    await spend(ledger, "a", await reserve(ledger, 50), 130)
    with pytest.raises(QuotaExhausted):
        await reserve(ledger, 1)
    await Quotas(store).set(ANN, tokens(200))
    assert (await reserve(ledger, 100)).max_output == 70


async def test_overdraft_and_other_units(ledger: Ledger, store: Store) -> None:
    """Money and requests are held like tokens, and an overdraft is room."""
    await Quotas(store).set(ANN, Allotment(Unit.MONEY, 100, overdraft=50))
    await Quotas(store).set(BOB, Allotment(Unit.REQUESTS, 1))
    price = Price(1.0, 2.0)
    hold = await ledger.reserve([ANN, BOB], Demand(10, 1000, price=price))
    assert hold.max_output == 70
    await ledger.settle(record("a", 50, cost=110), hold)
    with pytest.raises(QuotaExhausted, match="quota of this user is used up: 1 requests"):
        await reserve(ledger, 1, BOB)
    assert await used(store) == [110, 1]


async def test_quotas_are_for_an_upstream_or_a_model(ledger: Ledger, store: Store) -> None:
    """Others do not draw on them."""
    await Quotas(store).set(ANN, tokens(10, upstream="vllm"))
    await Quotas(store).set(ANN, tokens(20, model="smol"))
    for upstream, model, left in (("vllm", "big", 10), ("other", "smol", 20), ("other", "big", None)):
        hold = await ledger.reserve([ANN], Demand(0, 99), upstream=upstream, model=model)
        assert hold.max_output == left
        hold.release()


async def test_the_backend_is_asked_for_the_length_of_a_prompt_only_where_it_matters(
    ledger: Ledger, store: Store
) -> None:
    """Where its bound in bytes does not fit, or cuts the answer."""
    asked = []

    async def count() -> int | None:
        asked.append(1)
        return 10

    await Quotas(store).set(ANN, tokens(100))
    (await ledger.reserve([ANN], Demand(40, 60), count=count)).release()
    assert asked == []
    hold = await ledger.reserve([ANN], Demand(400, 80), count=count)
    assert (hold.max_output, asked) == (None, [1])
    hold.release()
    hold = await ledger.reserve([ANN], Demand(40, 80), count=count)
    assert (hold.max_output, asked) == (None, [1, 1])


async def test_a_drained_account_refuses_without_asking_the_store(ledger: Ledger, store: Store) -> None:
    """Who hammers on a spent quota costs nothing."""
    await Quotas(store).set(ANN, tokens(10))
    await spend(ledger, "a", await reserve(ledger, 10), 10)
    async with counting(store) as statements:
        for _ in range(10):
            with pytest.raises(QuotaExhausted):
                await reserve(ledger, 1)
    assert statements == []


async def test_a_known_account_decides_without_asking_the_store(ledger: Ledger, store: Store) -> None:
    """The store is asked once about a subject, with or without quotas, whatever changes for others."""
    await Quotas(store).set(ANN, tokens(1000))
    await reserve(ledger, 1, ANN, KEY)
    await Quotas(store).set(BOB, tokens(5))
    await reserve(ledger, 1, ANN, KEY, BOB)
    async with counting(store) as statements:
        for _ in range(10):
            await reserve(ledger, 1, ANN, KEY)
    assert statements == []


async def test_leaving_returns_every_lease(store: Store, tmp_path: Path) -> None:
    """Nothing of a worker stays behind, neither in the store nor in the folder of journals."""
    await Quotas(store).set(ANN, tokens(100))
    async with open_ledger(store, tmp_path / "workers") as ledger:
        await spend(ledger, "a", await reserve(ledger, 50), 30)
        assert await leased(store) == 70
        assert len(list((tmp_path / "workers").iterdir())) == 1
    assert await leased(store) == 0
    assert list((tmp_path / "workers").iterdir()) == []


async def test_a_period_turns_in_every_worker(two: tuple[Ledger, Ledger], store: Store, clock: Clock) -> None:
    """At the same moment, without any job: what runs is charged to the period in which it was admitted."""
    await Quotas(store).set(ANN, tokens(100, window=Window("30d"), anchor=clock.now - 86_400.5))
    running = await reserve(two[0], 60)
    await spend(two[1], "b", await reserve(two[1], 40), 40)
    with pytest.raises(QuotaExhausted):
        await reserve(two[1], 1)
    clock.pass_by(29 * 86_400 - 1)
    with pytest.raises(QuotaExhausted):
        await reserve(two[0], 1)
    clock.pass_by(1)
    for worker in two:
        (await reserve(worker, 50)).release()
    await spend(two[0], "a", running, 60)
    assert await used(store) == [0]
    assert (await reserve(two[0], 200)).max_output == 100


async def test_nothing_is_left_of_what_has_expired(
    two: tuple[Ledger, Ledger], store: Store, clock: Clock
) -> None:
    """In every worker at that moment, whatever it had leased; a purchase brings more."""
    await Quotas(store).set(ANN, tokens(100, expires_at=clock.now + 60))
    running = await reserve(two[0], 30)
    (await reserve(two[1], 30)).release()
    clock.pass_by(60)
    for worker in two:
        with pytest.raises(QuotaExhausted):
            await reserve(worker, 1)
    await spend(two[0], "a", running, 30)
    assert await used(store) == [30]
    async with store.change() as db:
        await Quotas(store).grow(db, ANN, tokens(0, expires_at=clock.now + 60), 10)
    assert (await reserve(two[1], 50)).max_output == 10


async def test_two_workers_share_one_limit(two: tuple[Ledger, Ledger], store: Store) -> None:
    """Concurrent requests on both pass the limit together no further than on one."""
    await Quotas(store).set(ANN, tokens(100))
    holds = await asyncio.gather(*[reserve(two[i % 2], 7) for i in range(24)], return_exceptions=True)
    granted = [(i, hold) for i, hold in enumerate(holds) if not isinstance(hold, BaseException)]
    assert all(isinstance(hold, QuotaExhausted) for hold in holds if isinstance(hold, BaseException))
    held = sum(amount for _, hold in granted for _, amount in hold.parts)
    assert 90 <= held <= 100
    await asyncio.gather(*[spend(two[i % 2], str(i), hold, hold.parts[0][1]) for i, hold in granted])
    assert await used(store) == [held]


async def test_what_was_held_before_a_limit_was_lowered_is_held_from_others_too(
    store: Store, tmp_path: Path
) -> None:
    """A limit that is lowered under what one worker holds, and then raised a little, leaves the other nothing."""
    timer = Timer()
    async with open_ledger(store, tmp_path) as one, open_ledger(store, tmp_path, timer=timer) as two:
        await Quotas(store).set(ANN, tokens(100))
        running = await reserve(one, 60)
        await Quotas(store).set(ANN, tokens(10))
        with pytest.raises(QuotaExhausted):
            await reserve(one, 1)
        await Quotas(store).set(ANN, tokens(50))
        with pytest.raises(QuotaExhausted):
            await reserve(two, 1)
        await spend(one, "a", running, 20)
        timer.now += 1.5
        assert (await reserve(two, 50)).max_output == 30


async def test_a_worker_gives_up_what_it_does_not_hold_to_one_that_is_short(
    two: tuple[Ledger, Ledger], store: Store, patient: None
) -> None:
    """The first leases a slice, the second gets all that the first does not need, and no answer is cut."""
    await Quotas(store).set(ANN, tokens(100))
    mine = await reserve(two[0], 10)
    other = await reserve(two[1], 90)
    assert (mine.max_output, other.max_output) == (None, None)
    await spend(two[1], "b", other, 90)
    await spend(two[0], "a", mine, 4)
    assert (await reserve(two[1], 50)).max_output == 6
    assert await used(store) == [94]


async def test_a_worker_that_comes_second_is_served(store: Store, tmp_path: Path, patient: None) -> None:
    """The one that was alone has leased everything, and gives it up."""
    await Quotas(store).set(ANN, tokens(100))
    async with open_ledger(store, tmp_path) as first:
        await spend(first, "a", await reserve(first, 10), 10)
        assert await leased(store) == 90
        async with open_ledger(store, tmp_path) as second:
            await spend(second, "b", await reserve(second, 80), 80)
            assert (await reserve(first, 50)).max_output == 10
            assert await used(store) == [90]


async def test_what_two_workers_looked_for_in_vain_is_not_looked_for_again_at_once(
    store: Store, tmp_path: Path
) -> None:
    """Who hammers on an account that is nearly spent costs one look a second."""
    await Quotas(store).set(ANN, tokens(100))
    timer = Timer()
    async with open_ledger(store, tmp_path) as first, open_ledger(store, tmp_path, timer=timer) as second:
        running = await reserve(first, 100)
        with pytest.raises(QuotaExhausted):
            await reserve(second, 1)
        async with counting(store) as statements:
            for _ in range(10):
                with pytest.raises(QuotaExhausted):
                    await reserve(second, 1)
        looks = [sql for sql in statements if sql.startswith(("INSERT", "UPDATE"))]
        assert [sql for sql in looks if not sql.startswith("UPDATE workers")] == [], "heartbeats left aside"
        await spend(first, "a", running, 40)
        timer.now += 1.5
        assert (await reserve(second, 60)).max_output is None


async def test_an_account_that_nobody_uses_is_given_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    """After a while; its next request leases it again."""
    await Quotas(store).set(ANN, tokens(100))
    timer = Timer()
    async with open_ledger(store, tmp_path, timer=timer) as ledger:
        await spend(ledger, "a", await reserve(ledger, 50), 30)
        clock.pass_by(301)
        timer.now += 2.5

        async def given_back() -> bool:
            return await leased(store) == 0

        await until(given_back)
        assert (await reserve(ledger, 100)).max_output == 70
        assert await leased(store) == 70


async def test_a_lease_of_unknown_outcome_is_put_right(
    ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled after the commit, as when the client leaves: nothing is lost and nothing is given twice."""
    await Quotas(store).set(ANN, tokens(100))
    begin, blocked = store.begin, asyncio.Event()

    class Stuck:
        async def __aenter__(self):
            self.transaction = begin()
            return await self.transaction.__aenter__()

        async def __aexit__(self, *error: object) -> None:
            await self.transaction.__aexit__(*error)
            blocked.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(store, "begin", Stuck)
    request = asyncio.create_task(reserve(ledger, 10))
    await blocked.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    monkeypatch.undo()
    assert await leased(store) == 100
    assert (await reserve(ledger, 200)).max_output == 100
    assert await leased(store) == 100


async def test_the_metrics_see_what_is_held(ledger: Ledger, store: Store) -> None:
    """By unit, and whether anything is left."""
    await Quotas(store).set(ANN, tokens(100))
    await Quotas(store).set(Subject("user", 3), tokens(5))
    await reserve(ledger, 30)
    await reserve(ledger, 5, Subject("user", 3))
    state = ledger.state()
    assert (state.accounts, state.held) == ({"open": 1, "exhausted": 1}, {"tokens": 35})


@pytest.mark.parametrize("durability", ["journal", "commit"])
async def test_whoever_reads_sees_what_has_ended_here(store: Store, tmp_path: Path, durability: str) -> None:
    """Records, sums, balances, and what an operator changes, however long records gather."""
    quotas, reports = Quotas(store), Reports(store)
    reads = [
        lambda: reports.records(Filter()),
        lambda: reports.totals(Filter()),
        lambda: reports.grouped("model", Filter()),
        lambda: quotas.of(ANN),
        lambda: quotas.set(ANN, tokens(1000)),
    ]
    await quotas.set(ANN, tokens(1000))
    async with open_ledger(store, tmp_path, durability=durability, gather=3600.0) as ledger:
        for number, read in enumerate(reads, 1):
            hold = await reserve(ledger, 50)
            await spend(ledger, str(number), hold, 1, ledger.begin(draft(str(number)), hold))
            await read()
            async with store.connect() as db:
                assert await db.scalar(sa.select(quotas_table.c.used)) == number


async def test_what_an_idle_account_was_charged_is_in_it_before_it_is_given_back(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    """A request of many minutes ends while its account is looked at: another worker gets only what is left."""
    await Quotas(store).set(ANN, tokens(100))
    async with open_ledger(store, tmp_path, durability="journal", gather=3600.0) as ledger:
        hold = await reserve(ledger, 80)
        slot = ledger.begin(draft("a"), hold)
        clock.pass_by(301)
        await spend(ledger, "a", hold, 70, slot)
        await ledger._cache.close_idle()
        async with store.connect() as db:
            assert (await db.execute(sa.select(leases_table))).all() == []
            assert await db.scalar(sa.select(quotas_table.c.used)) == 70


def test_no_record_gathers_for_as_long_as_others_may_see_it_late() -> None:
    """100 ms, of which some are for the transaction."""
    assert GATHER_S <= 0.05
