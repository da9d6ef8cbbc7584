"""Quotas as operators and surfaces set them."""

import pytest
import sqlalchemy as sa
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import BadRequest, Forbidden
from llmgate.ledger import Allotment, Balance, Default, Quotas, Subject, Unit, Window
from llmgate.store import Store
from llmgate.store.schema import quotas as table

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

ANN = Subject("user", 1)
DAY = 86_400.0


async def use(store: Store, amount: int) -> None:
    """As if requests had used so much of every quota."""
    async with store.begin() as db:
        await db.execute(sa.update(table).values(used=table.c.used + amount))


def tokens(limit: int, overdraft: int = 0) -> Allotment:
    return Allotment(Unit.TOKENS, limit, overdraft=overdraft)


async def test_who_may_not_raise_a_limit_may_lower_it(store: Store) -> None:
    """Again and again, but never back."""
    quotas = Quotas(store)
    await quotas.set(ANN, tokens(100))
    assert (await quotas.set(ANN, tokens(100), may_raise=False)).allotment.limit == 100
    assert (await quotas.set(ANN, tokens(50), may_raise=False)).allotment.limit == 50
    for more in (tokens(51), tokens(100), tokens(50, overdraft=1)):
        with pytest.raises(Forbidden, match="The limit is 50"):
            await quotas.set(ANN, more, may_raise=False)
    (balance,) = await quotas.of(ANN)
    assert balance.allotment == tokens(50)
    assert (await quotas.set(ANN, tokens(100))).allotment.limit == 100


async def test_the_default_of_gate_toml_is_a_limit_too(store: Store) -> None:
    """Of those who have none of their own for the same thing."""
    day = Allotment(Unit.TOKENS, 5, Window.DAY)
    quotas = Quotas(store, [Default("user", day), Default("user", tokens(100)), Default("key", tokens(1))])
    with pytest.raises(Forbidden):
        await quotas.set(ANN, tokens(101), may_raise=False)
    assert (await quotas.set(ANN, tokens(99), may_raise=False)).allotment.limit == 99


async def test_who_has_no_limit_may_take_one(store: Store) -> None:
    """Any limit is less than none."""
    assert (await Quotas(store).set(ANN, tokens(10**15), may_raise=False)).allotment.limit == 10**15


async def test_a_quota_is_given_within_a_transaction_or_not_at_all(store: Store) -> None:
    """It is there exactly if what else the transaction writes is there."""
    quotas = Quotas(store)
    with pytest.raises(RuntimeError):
        async with store.begin() as db:
            await quotas.give(db, ANN, tokens(100))
            raise RuntimeError
    assert await quotas.of(ANN) == []
    async with store.begin() as db:
        await quotas.give(db, ANN, tokens(100))
    (balance,) = await quotas.of(ANN)
    assert (balance.allotment, balance.used) == (tokens(100), 0)


async def test_numbers_out_of_range_are_refused(store: Store) -> None:
    """A limit of 0 is one."""
    quotas = Quotas(store)
    for limit in (-1, 2**62 + 1):
        with pytest.raises(BadRequest):
            await quotas.set(ANN, tokens(limit))
    assert (await quotas.set(ANN, tokens(0))).remaining == 0


async def test_periods_start_over_by_themselves(store: Store, clock: Clock) -> None:
    """What was used is of the period; a new anchor begins one now."""
    quotas = Quotas(store)
    month = Allotment(Unit.TOKENS, 100, Window("30d"), anchor=clock.now)
    await quotas.set(ANN, month)
    await use(store, 40)
    clock.pass_by(30 * DAY - 1)
    (balance,) = await quotas.of(ANN)
    assert (balance.used, balance.window_start, balance.window_end) == (
        40,
        month.anchor,
        month.anchor + 30 * DAY,
    )
    clock.pass_by(1)
    (balance,) = await quotas.of(ANN)
    assert (balance.used, balance.window_start) == (0, month.anchor + 30 * DAY)


async def test_a_quota_takes_the_place_of_those_of_other_windows(store: Store, clock: Clock) -> None:
    """A budget is moved from a week to a month: one budget, not two. Others stay."""
    quotas = Quotas(store)
    await quotas.set(ANN, Allotment(Unit.MONEY, 10, Window("7d")))
    await quotas.set(ANN, Allotment(Unit.TOKENS, 10, Window("7d")))
    await quotas.set(ANN, Allotment(Unit.MONEY, 10, Window("7d"), model="small"))
    await quotas.replace(ANN, Allotment(Unit.MONEY, 30, Window("30d"), anchor=clock.now))
    assert sorted(
        (b.allotment.unit, b.allotment.window, b.allotment.model) for b in await quotas.of(ANN)
    ) == [
        ("money", "30d", ""),
        ("money", "7d", "small"),
        ("tokens", "7d", ""),
    ]


async def test_what_was_bought_lasts_until_it_expires(store: Store, clock: Clock) -> None:
    """A purchase before that adds up, and all of it lasts as long as the last; one after it starts anew."""
    quotas = Quotas(store)
    pool = Subject("organization", 1)

    async def buy(amount: int) -> Balance:
        async with store.change() as db:
            bought = Allotment(Unit.MONEY, 0, expires_at=clock.now + 365 * DAY)
            return await quotas.grow(db, pool, bought, amount)

    assert (await buy(100)).remaining == 100
    clock.pass_by(364 * DAY)
    assert (await buy(50)).remaining == 150
    await use(store, 30)
    clock.pass_by(364 * DAY)
    assert (await quotas.of(pool))[0].remaining == 120
    clock.pass_by(DAY)
    (balance,) = await quotas.of(pool)
    assert (balance.expired, balance.remaining) == (True, 0)
    assert (await buy(70)).remaining == 70
