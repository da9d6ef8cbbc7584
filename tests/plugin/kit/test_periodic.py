"""Work that recurs: in every process, or in one of all that share a store."""

import asyncio
import logging

import pytest
from servers import until
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import StoreError
from llmgate.plugin.kit.periodic import LEASE_S, Lease, backoff, periodic
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

NEVER = 3600.0


async def test_work_is_done_at_once_and_whenever_somebody_says_so() -> None:
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(len(rounds))

    async with periodic("test", work, every=NEVER) as wake:
        await until(lambda: rounds == [0])
        wake()
        await until(lambda: rounds == [0, 1])


async def test_work_is_looked_for_now_and_then() -> None:
    rounds: list[None] = []

    async def work() -> None:
        rounds.append(None)

    async with periodic("test", work, every=0.001):
        await until(lambda: len(rounds) > 2)


async def test_a_round_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """The fault is logged with where it was; that the store is away, once."""
    faults = [StoreError("away"), StoreError("away"), RuntimeError("a fault"), None]
    rounds: list[None] = []

    async def work() -> None:
        fault = faults[len(rounds)]
        rounds.append(None)
        if fault is not None:
            raise fault

    with caplog.at_level(logging.WARNING, "llmgate"):
        async with periodic("test", work, every=NEVER) as wake:
            for number in range(1, 5):
                await until(lambda number=number: len(rounds) == number)  # type: ignore[misc]
                wake()
    assert [record.getMessage() for record in caplog.records] == [
        "test waits for the store: away",
        "test: a round failed",
    ]
    assert caplog.records[1].exc_info is not None


async def test_work_ends_with_the_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with periodic("test", work):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_one_holder_at_a_time(store: Store, clock: Clock) -> None:
    """Who holds a lease may renew it; another one gets it when it has run out, or was given back."""
    first, second = Lease(store, "job"), Lease(store, "job")
    assert await first.take()
    assert not await second.take()
    assert await Lease(store, "another job").take()
    clock.pass_by(LEASE_S - 1)
    assert await first.take()
    clock.pass_by(LEASE_S - 1)
    assert not await second.take()
    clock.pass_by(1)
    assert await second.take()
    assert not await first.take()
    await first.release()
    assert not await first.take(), "nobody gives back what another one holds"
    await second.release()
    assert await first.take()


async def test_one_process_of_the_cluster_does_the_work(store: Store) -> None:
    """The others look in vain, until it ends."""
    done: list[str] = []

    async def work(who: str) -> None:
        done.append(who)

    async with periodic("job", lambda: work("a"), every=NEVER, store=store, alone=True):
        await until(lambda: done == ["a"])
        assert not await Lease(store, "job").hold(lambda: work("b"))
    assert await Lease(store, "job").hold(lambda: work("b"))
    assert done == ["a", "b"]


async def test_who_has_lost_the_lease_stops(store: Store, clock: Clock) -> None:
    """A process that froze finds that another one has taken over."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    frozen = asyncio.create_task(Lease(store, "job").hold(work, renew_interval=0.001))
    await begun.wait()
    while not await Lease(store, "job", holder="other").take():
        clock.pass_by(LEASE_S)
    assert not await frozen
    assert ended.is_set()


async def test_what_fails_while_it_holds_the_lease_fails(store: Store) -> None:
    async def work() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(ExceptionGroup):
        await Lease(store, "job").hold(work)


def test_pauses_double_up_to_a_bound() -> None:
    assert [backoff(attempts, longest=60) for attempts in (0, 1, 2, 5, 6, 10_000)] == [1, 2, 4, 32, 60, 60]
