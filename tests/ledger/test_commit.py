"""Group commit: who waits for what, and for how long, while the database does or does not do its part."""

import asyncio
from collections.abc import Sequence

import pytest

from llmgate.errors import StoreError
from llmgate.ledger.commit import GroupCommit
from llmgate.ledger.model import Entry

from .ledgers import Timer, record, soon, until


class Database:
    """Takes entries when told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.groups: list[list[str]] = []
        self.errors: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.poison: set[str] = set()
        self.closed = False

    async def commit(self, entries: Sequence[Entry]) -> None:
        self.begun += 1
        await self.open.wait()
        if self.errors:
            raise self.errors[0]
        names = [entry.record.request_id for entry in entries]
        if self.poison.intersection(names):
            raise OverflowError("a number that no column holds")
        self.groups.append(names)

    async def aclose(self) -> None:
        self.closed = True


def entry(name: str) -> Entry:
    return Entry(record(name))


async def test_what_comes_while_one_transaction_runs_goes_into_the_next_together() -> None:
    """One by one when it is quiet, in groups under load, in order, never more than `largest`."""
    database = Database()
    async with GroupCommit(database, largest=3, sleep=soon) as commits:
        await commits.submit(entry("a"))
        database.open.clear()
        waiting = [commits.submit(entry("b"))]
        await until(lambda: database.begun == 2)
        waiting += [commits.submit(entry(name)) for name in "cdef"]
        assert commits.backlog == 5
        database.open.set()
        await asyncio.gather(*waiting)
        assert commits.backlog == 0
    assert database.groups == [["a"], ["b"], ["c", "d", "e"], ["f"]]
    assert database.closed


async def test_the_wait_ends_after_the_patience_and_the_entry_is_written_later() -> None:
    """The caller gets the error; `written` is called when it is in after all."""
    database, timer, written = Database(), Timer(), []
    database.errors = [StoreError("away")]
    async with GroupCommit(database, timeout=5.0, clock=timer, sleep=soon) as commits:
        waiting = commits.submit(entry("a"), lambda: written.append("a"))
        await until(lambda: commits.failing)
        assert not waiting.done()
        timer.now += 5.0
        with pytest.raises(StoreError, match="away"):
            await waiting
        assert (commits.lag, written) == (5.0, [])
        database.errors.clear()
        await until(lambda: written)
        assert commits.failing is None
    assert database.groups == [["a"]]


async def test_a_database_that_hangs_is_one_that_fails() -> None:
    """It need not say so."""
    database, timer = Database(), Timer()
    database.open.clear()
    async with GroupCommit(database, timeout=5.0, clock=timer, sleep=soon) as commits:
        waiting = commits.submit(entry("a"))
        commits.expire_waiters()
        assert commits.failing is None
        timer.now += 6.0
        commits.expire_waiters()
        with pytest.raises(StoreError, match="longer than 5 s"):
            await waiting
        assert commits.failing is not None
        database.open.set()
        await until(lambda: commits.failing is None)
    assert database.groups == [["a"]]


async def test_an_entry_at_fault_is_refused_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Those that shared its transaction are written."""
    database = Database()
    database.open.clear()
    database.poison = {"bad"}
    async with GroupCommit(database, sleep=soon) as commits:
        waiting = [commits.submit(entry(name)) for name in ("a", "bad", "b")]
        database.open.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreError, type(None)]
    assert database.groups == [["a"], ["b"]]
    assert "bad cannot be written" in caplog.text


async def test_leaving_writes_what_waits() -> None:
    """Nothing that was submitted is forgotten."""
    database = Database()
    async with GroupCommit(database, sleep=soon) as commits:
        waiting = [commits.submit(entry(name)) for name in "ab"]
    assert all(one.done() for one in waiting)
    assert database.groups == [["a", "b"]]


async def test_leaving_waits_for_a_failing_database_no_longer_than_the_patience(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is lost is said."""
    database, timer = Database(), Timer()
    database.errors = [StoreError("away")]

    async def pass_time(seconds: float) -> None:
        timer.now += seconds
        await asyncio.sleep(0)

    async with GroupCommit(database, timeout=5.0, clock=timer, sleep=pass_time) as commits:
        waiting = commits.submit(entry("a"))
    with pytest.raises(StoreError):
        await waiting
    assert "1 usage records could not be written before shutdown: away" in caplog.text


async def test_a_caller_that_goes_away_changes_nothing() -> None:
    """Its entry is written."""
    database = Database()
    async with GroupCommit(database, sleep=soon) as commits:
        commits.submit(entry("a")).cancel()
        await commits.submit(entry("b"))
    assert database.groups == [["a", "b"]]


async def test_leaving_does_not_wait_for_the_pace() -> None:
    """Under load a transaction begins only every so often; the last one begins at once."""
    database = Database()
    async with GroupCommit(database, pace=3600.0) as commits:
        await commits.submit(entry("a"))
        waiting = [commits.submit(entry(name)) for name in "bc"]
        assert (commits.backlog, database.groups) == (2, [["a"]])
    assert all(one.done() for one in waiting)
    assert database.groups == [["a"], ["b", "c"]]


async def test_leaving_waits_for_the_transaction_that_runs_and_for_what_came_meanwhile() -> None:
    """Also for what comes while it waits."""
    database = Database()
    database.open.clear()
    commits = GroupCommit(database)
    await commits.__aenter__()
    commits.submit(entry("a"))
    await until(lambda: database.begun)
    commits.submit(entry("b"))
    leaving = asyncio.create_task(commits.__aexit__(None, None, None))
    await asyncio.sleep(0)
    commits.submit(entry("c"))
    database.open.set()
    await leaving
    assert database.groups == [["a"], ["b", "c"]]


async def test_what_waits_behind_a_failed_transaction_is_written_after_it() -> None:
    """In order, and none of it twice."""
    database = Database()
    database.errors = [StoreError("away")]
    async with GroupCommit(database, sleep=soon) as commits:
        first = commits.submit(entry("a"))
        await until(lambda: commits.failing)
        second = commits.submit(entry("b"))
        assert commits.backlog == 2
        database.errors.clear()
        await asyncio.gather(first, second)
    assert database.groups == [["a"], ["b"]]
