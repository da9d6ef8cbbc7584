"""What one worker leases, next to others: all if it is alone, slices if not, and little of what others are short of."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from stores import Clock

from llmgate.ledger import Quotas
from llmgate.ledger.leases import CONTENDED_FOR_S, Lease, Leases
from llmgate.ledger.workers import Workers
from llmgate.store import Store

from .ledgers import ANN, BOB, leased, tokens


@pytest.fixture
async def workers(store: Store, tmp_path: Path) -> AsyncIterator[list[Leases]]:
    """Two workers' leases; the second joins when a test enters it."""
    async with AsyncExitStack() as stack:
        joined = [await stack.enter_async_context(Workers(store, tmp_path / "w", name)) for name in "ab"]
        yield [Leases(store, worker, ()) for worker in joined]


async def test_who_is_alone_leases_everything(store: Store, tmp_path: Path) -> None:
    await Quotas(store).set(ANN, tokens(100))
    async with Workers(store, tmp_path / "w", "a") as alone:
        (lease,) = await Leases(store, alone, ()).lease(ANN)
    assert (lease.granted, lease.fully_leased, lease.others) == (100, True, 0)


async def test_next_to_others_it_is_slices_until_more_is_wanted(workers: list[Leases], store: Store) -> None:
    await Quotas(store).set(ANN, tokens(80))
    one, other = workers
    (first,) = await one.lease(ANN)
    assert (first.granted, first.fully_leased) == (10, False)
    (more,) = await one.lease(ANN, [first._replace(retained=10, wanted=50)])
    assert more.granted == 60
    (second,) = await other.lease(ANN, [Lease(first.quota_id, first.window_start, wanted=50)])
    assert (second.granted, second.others) == (20, 60)
    assert await leased(store) == 80


async def test_what_a_worker_retains_stays_and_the_rest_is_given_back(
    workers: list[Leases], store: Store
) -> None:
    await Quotas(store).set(ANN, tokens(80))
    one, other = workers
    (first,) = await one.lease(ANN, ())
    (first,) = await one.lease(ANN, [first._replace(wanted=80)])
    await one.give_back([first._replace(retained=30)])
    (second,) = await other.lease(ANN, [first._replace(retained=0, wanted=80)])
    assert (second.granted, second.others) == (50, 30)


async def test_what_was_contended_is_leased_in_small_slices_for_a_while(
    workers: list[Leases], store: Store, clock: Clock
) -> None:
    await Quotas(store).set(ANN, tokens(800))
    one, other = workers
    (first,) = await one.lease(ANN)
    await other.contend(first.quota_id)
    assert await one.contended() == {first.quota_id}
    await one.close([first.quota_id])
    (again,) = await one.lease(ANN, [Lease(first.quota_id, first.window_start, wanted=7)])
    assert again.granted == 7
    clock.pass_by(CONTENDED_FOR_S)
    assert await one.contended() == set()
    (later,) = await one.lease(ANN, [again._replace(retained=0, wanted=7)])
    assert later.granted == 100


async def test_changed_quotas_are_told_once_and_rather_twice_than_never(
    workers: list[Leases], store: Store
) -> None:
    one, _ = workers
    assert await one.changed() == set()
    await Quotas(store).set(ANN, tokens(80))
    assert await one.changed() == {ANN}
    await Quotas(store).set(BOB, tokens(80))
    assert BOB in await one.changed()
