"""Quotas as operators and surfaces set them."""

import pytest
from stores import clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import BadRequest, Forbidden
from llmgate.ledger import Allotment, Default, Quotas, Subject, Unit, Window
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

ANN = Subject("user", 1)


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
