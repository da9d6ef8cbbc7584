# ruff: noqa: ASYNC240 - damaging files is what these tests do
"""When the database does not do its part: refused cleanly, nothing lost or charged twice, and back by itself."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from stores import Clock
from stores import _command as command

from llmgate.errors import QuotaExhausted, StoreError, Unavailable
from llmgate.ledger import Ledger, Quotas
from llmgate.ledger.sqlite import SqliteCommitter
from llmgate.store import Store

from .ledgers import (
    ANN,
    BOB,
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


@asynccontextmanager
async def opened(url: str, clock: Clock, **settings: object) -> AsyncIterator[tuple[Ledger, Store, Timer]]:
    """A ledger that is impatient by its own clock, and ann's account of 100 tokens, which it has leased.

    An answer has ended when it is committed, if nothing else is said.
    """
    timer = Timer()
    async with Store.open(url, clock=clock, busy_timeout=0.05) as store:
        await Quotas(store).set(ANN, tokens(100))
        folder = (
            Path(store.url.database or "").parent / "workers" if "sqlite" in url else settings.pop("folder")
        )
        settings = {"timer": timer, "timeout": 5.0, "durability": "commit", **settings}
        async with open_ledger(store, folder, **settings) as ledger:
            (await reserve(ledger, 1)).release()
            yield ledger, store, timer


async def fail(ledger: Ledger, timer: Timer, *work: asyncio.Future[None] | asyncio.Task[None]) -> None:
    """Let the database fail for longer than anybody is patient."""
    await until(lambda: ledger.commits.failing)
    timer.now += 6.0
    for result in await asyncio.gather(*work, return_exceptions=True):
        assert isinstance(result, StoreError)


async def refuses(ledger: Ledger) -> None:
    with pytest.raises(Unavailable):
        await reserve(ledger, 1)
    with pytest.raises(Unavailable):
        ledger.begin(draft())


async def test_a_locked_database_is_waited_for(sqlite_url: str, clock: Clock) -> None:
    """Another process holds the write lock: records wait, requests are refused, and all goes on afterwards."""
    async with opened(sqlite_url, clock) as (ledger, store, timer):
        with closing(sqlite3.connect(store.url.database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            hold = await reserve(ledger, 50)
            settling = asyncio.create_task(spend(ledger, "a", hold, 30, ledger.begin(draft("a"), hold)))
            await fail(ledger, timer, settling)
            await refuses(ledger)
            other.execute("ROLLBACK")
        await until(lambda: ledger.commits.failing is None)
        assert (await records(store), await used(store)) == ({"a": (30, "finished")}, [30])
        assert (await reserve(ledger, 100)).max_output == 70


async def test_a_full_disk_is_waited_for(sqlite_url: str, clock: Clock) -> None:
    """No page can be added: the group that does not fit is written once there is room again."""

    class Small(SqliteCommitter):
        full = False

        def _connect(self) -> sqlite3.Connection:
            connection = super()._connect()
            if self.full:
                connection.execute("PRAGMA max_page_count = 1")  # no less than it has
            return connection

    committers = []

    def small() -> SqliteCommitter:
        committers.append(Small(Path(sqlite_url.removeprefix("sqlite:///"))))
        return committers[0]

    async with opened(sqlite_url, clock, committer=small) as (ledger, store, timer):
        Small.full = True
        entries = [record(str(number), 0, model="m" * 1000) for number in range(100)]
        settling = [asyncio.create_task(ledger.settle(entry)) for entry in entries]
        await fail(ledger, timer, *settling)
        assert "full" in str(ledger.commits.failing)
        await refuses(ledger)
        Small.full = False
        await until(lambda: ledger.commits.failing is None)
        assert len(await records(store)) == 100


async def test_a_database_file_that_was_moved_away_is_missed(sqlite_url: str, clock: Clock) -> None:
    """What is written into a removed file would be lost: nothing is, until the file is back."""
    async with opened(sqlite_url, clock) as (ledger, store, timer):
        path = Path(store.url.database or "")
        path.rename(path.with_suffix(".away"))
        hold = await reserve(ledger, 50)
        settling = asyncio.create_task(spend(ledger, "a", hold, 30))
        await fail(ledger, timer, settling)
        assert "gone" in str(ledger.commits.failing)
        await refuses(ledger)
        path.with_suffix(".away").rename(path)
        await until(lambda: ledger.commits.failing is None)
        assert await records(store) == {"a": (30, "finished")}


async def test_another_database_in_its_place_is_not_written(sqlite_url: str, clock: Clock) -> None:
    """Half of the books would be in one file, half in the other."""
    async with opened(sqlite_url, clock) as (ledger, store, timer):
        path = Path(store.url.database or "")
        path.rename(path.with_suffix(".away"))
        path.write_bytes(path.with_suffix(".away").read_bytes())
        await fail(ledger, timer, asyncio.create_task(spend(ledger, "a", None, 30)))
        assert "was replaced: restart the gate" in str(ledger.commits.failing)
        path.with_suffix(".away").rename(path)
        await until(lambda: ledger.commits.failing is None)


async def test_a_damaged_database_is_not_written(sqlite_url: str, clock: Clock) -> None:
    """Until it is put right."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    committer = SqliteCommitter(path)
    sound = path.read_bytes()
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="is not an SQLite file"):
        await committer.commit([])
    path.write_bytes(sound)
    await committer.commit([])
    await committer.aclose()


async def test_who_fails_open_goes_on_without_the_database(sqlite_url: str, clock: Clock) -> None:
    """Known accounts are still held to what was leased, unknown ones are not held; the records follow."""
    async with opened(sqlite_url, clock, fail_open=True) as (ledger, store, timer):
        with closing(sqlite3.connect(store.url.database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            hold = await reserve(ledger, 50)
            settling = asyncio.create_task(spend(ledger, "a", hold, 30))
            await until(lambda: ledger.commits.failing)
            timer.now += 6.0
            await settling
            second = await reserve(ledger, 70, ANN)
            assert second.max_output is None
            await spend(ledger, "b", second, 70, ledger.begin(draft("b"), second))
            with pytest.raises(QuotaExhausted):
                await reserve(ledger, 1)
            other.execute("ROLLBACK")
        await until(lambda: ledger.commits.failing is None and not ledger.commits.backlog)
        assert await records(store) == {"a": (30, "finished"), "b": (70, "finished")}
        assert await used(store) == [100]


async def test_an_unknown_account_is_refused_while_the_store_is_away(sqlite_url: str, clock: Clock) -> None:
    """Nobody knows its limit."""
    async with opened(sqlite_url, clock) as (ledger, store, _):
        await Quotas(store).set(BOB, tokens(5))
        with closing(sqlite3.connect(store.url.database or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="cannot be read"):
                await reserve(ledger, 1, BOB)
            other.execute("ROLLBACK")
        assert (await reserve(ledger, 9, BOB)).max_output == 5


async def test_a_cut_connection_is_opened_again(
    migrated_postgres: str, store_url: str, clock: Clock, tmp_path: Path
) -> None:
    """PostgreSQL ends every session, again and again: each record is there once, with its charge."""
    if "sqlite" in store_url:
        pytest.skip("SQLite has no connections to cut")
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    async with opened(migrated_postgres, clock, folder=tmp_path / "workers") as (ledger, store, _):

        async def request(number: int) -> None:
            hold = await ledger.reserve([ANN], demand_of(1))
            await spend(ledger, str(number), hold, 1, ledger.begin(draft(str(number)), hold))

        for cycle in range(3):
            working = [asyncio.create_task(request(cycle * 20 + number)) for number in range(20)]
            await command(pytest.importorskip("asyncpg"), cut, migrated_postgres)
            await asyncio.gather(*working)
        assert len(await records(store)) == 60
        assert await used(store) == [60]
        assert await leased(store) == 40


async def test_a_driver_that_stumbles_over_a_lost_connection_loses_no_record(
    migrated_postgres: str, store_url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg's own confusion is no fault of what was to be written (found by make torture)."""
    if "sqlite" in store_url:
        pytest.skip("SQLite has no connections to lose")
    asyncpg = pytest.importorskip("asyncpg")
    execute, stumbled = asyncpg.Connection.execute, []

    async def stumbles_once(*args: object, **kwargs: object) -> object:
        if not stumbled:
            stumbled.append(True)
            raise asyncpg.InternalClientError(
                "cannot switch to state 15; another operation (2) is in progress"
            )
        return await execute(*args, **kwargs)

    async with opened(migrated_postgres, clock, folder=tmp_path / "workers") as (ledger, store, _):
        monkeypatch.setattr(asyncpg.Connection, "execute", stumbles_once)
        hold = await reserve(ledger, 50)
        await spend(ledger, "a", hold, 30, ledger.begin(draft("a"), hold))
        assert stumbled
        assert (await records(store), await used(store)) == ({"a": (30, "finished")}, [30])


def demand_of(amount: int):
    from llmgate.ledger import Demand

    return Demand(0, amount)


async def test_what_cannot_be_stored_is_refused_alone(store: Store, tmp_path: Path) -> None:
    """A number over 64 bits in one record is no fault of the others."""
    async with open_ledger(store, tmp_path) as ledger:
        results = await asyncio.gather(
            ledger.settle(record("a", 1)),
            ledger.settle(record("bad", 2**70)),
            ledger.settle(record("b", 2)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), StoreError, type(None)]
        assert await records(store) == {"a": (1, "finished"), "b": (2, "finished")}


async def test_a_worker_that_was_thought_dead_starts_over(
    migrated_postgres: str, store_url: str, clock: Clock, tmp_path: Path
) -> None:
    """It was cut off for too long: its leases are gone, its running requests are covered first."""
    if "sqlite" in store_url:
        pytest.skip("on SQLite the operating system knows who lives")
    async with opened(migrated_postgres, clock, folder=tmp_path / "workers") as (ledger, store, timer):
        running = await reserve(ledger, 60)
        async with store.begin() as db:
            await db.exec_driver_sql("UPDATE workers SET seen_at = seen_at - 60")
        async with open_ledger(store, tmp_path / "elsewhere", timer=timer) as other:
            timer.now += 7.0  # both beat; the other one may be first and bury the silent one
            assert (await reserve(other, 10)).max_output is None
            fresh = await reserve(ledger, 100)
            assert fresh.max_output == 30
            await spend(ledger, "a", running, 60)
            assert await used(store) == [60]
            assert await leased(store) <= 40


async def test_what_has_ended_in_the_journal_ends_while_the_database_is_locked(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    """Its client has its whole answer; new requests are refused, and who reads is told that it takes long."""
    async with opened(sqlite_url, clock, durability="journal") as (ledger, store, timer):
        with closing(sqlite3.connect(store.url.database or "", isolation_level=None)) as other:
            hold = await reserve(ledger, 50)
            slot = ledger.begin(draft("a"), hold)
            other.execute("BEGIN IMMEDIATE")
            await spend(ledger, "a", hold, 30, slot)
            reading = asyncio.create_task(Quotas(store).of(ANN))
            await until(lambda: ledger.commits.failing)
            await refuses(ledger)
            timer.now += 6.0
            with pytest.raises(StoreError):
                await reading
            other.execute("ROLLBACK")
        assert [balance.used for balance in await Quotas(store).of(ANN)] == [30]
        assert await records(store) == {"a": (30, "finished")}
        assert (await reserve(ledger, 100)).max_output == 70


async def test_a_store_that_falls_behind_is_one_that_fails(sqlite_url: str, clock: Clock) -> None:
    """It need not say so: what waits for longer than anybody would is too much, and requests are refused."""

    class Hanging:
        """A database that answers when it is let."""

        def __init__(self) -> None:
            self.answers = asyncio.Event()

        async def commit(self, _entries: object) -> None:
            await self.answers.wait()

        async def aclose(self) -> None:
            """Nothing to let go of."""

    database = Hanging()
    async with opened(sqlite_url, clock, durability="journal", committer=lambda: database) as (
        ledger,
        _,
        timer,
    ):
        hold = await reserve(ledger, 50)
        await spend(ledger, "a", hold, 30, ledger.begin(draft("a"), hold))
        ledger.begin(draft("b")).free()
        timer.now += 6.0
        await until(lambda: ledger.commits.failing)
        await refuses(ledger)
        database.answers.set()
        await until(lambda: ledger.commits.failing is None)
        ledger.begin(draft("b")).free()
