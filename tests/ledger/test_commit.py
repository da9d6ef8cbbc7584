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


async def test_what_is_in_the_journal_gathers_until_somebody_waits() -> None:
    """Nobody waits for what is added; who submits or flushes hurries all that is queued, in order."""
    database, written = Database(), []
    async with GroupCommit(database, gather=3600.0) as commits:
        for name in "ab":
            commits.add(entry(name), lambda name=name: written.append(name))
        await asyncio.sleep(0)
        assert (commits.backlog, database.groups, written) == (2, [], [])
        await commits.flush()
        assert (database.groups, written) == ([["a", "b"]], ["a", "b"])
        commits.add(entry("c"), lambda: written.append("c"))
        await commits.submit(entry("d"))
        assert database.groups == [["a", "b"], ["c", "d"]]
        commits.add(entry("e"), lambda: written.append("e"))
    assert database.groups[2:] == [["e"]], "who leaves does not wait for it"
    assert written == ["a", "b", "c", "e"]


async def test_what_has_gathered_for_long_enough_is_written_without_being_asked_for() -> None:
    database, written = Database(), []
    async with GroupCommit(database, gather=0.001) as commits:
        commits.add(entry("a"), lambda: written.append("a"))
        await until(lambda: written)
        commits.add(entry("b"), lambda: written.append("b"))
        await until(lambda: len(written) == 2)
    assert database.groups == [["a"], ["b"]]


async def test_a_group_that_is_full_does_not_gather() -> None:
    """What came while the last one was written: at most `largest` in one transaction."""
    database, written = Database(), []
    async with GroupCommit(database, gather=3600.0, largest=2) as commits:
        database.open.clear()
        commits.submit(entry("a"))
        await until(lambda: database.begun)
        for name in "bcd":
            commits.add(entry(name), lambda name=name: written.append(name))
        database.open.set()
        await until(lambda: database.groups == [["a"], ["b", "c"]])
        assert commits.backlog == 1


async def test_a_flush_waits_for_what_was_there_before_and_no_more() -> None:
    """For the transaction that runs, too, and for entries at fault until they are out of the way."""
    database = Database()
    database.open.clear()
    database.poison = {"bad"}
    async with GroupCommit(database, gather=3600.0, sleep=soon) as commits:
        await commits.flush()
        commits.add(entry("a"), lambda: None)
        first = asyncio.create_task(commits.flush())
        await until(lambda: database.begun)
        commits.add(entry("bad"), lambda: None)
        commits.add(entry("b"), lambda: None)
        both = asyncio.create_task(commits.flush())
        given_up = asyncio.create_task(commits.flush())
        await asyncio.sleep(0)
        given_up.cancel()
        database.open.set()
        await asyncio.gather(first, both)
        assert database.groups == [["a"], ["b"]]


async def test_a_flush_of_a_failing_database_ends_after_the_timeout() -> None:
    """Who reads is told; what was to be written stays queued."""
    database, timer = Database(), Timer()
    database.errors = [StoreError("away")]
    async with GroupCommit(database, timeout=5.0, clock=timer, sleep=soon) as commits:
        commits.add(entry("a"), lambda: None)
        reading = asyncio.create_task(commits.flush())
        await until(lambda: commits.failing)
        timer.now += 5.0
        with pytest.raises(StoreError, match="away"):
            await reading
        assert commits.backlog == 1
        database.errors.clear()
        await commits.flush()
    assert database.groups == [["a"]]


async def test_who_reads_while_the_ledger_is_closed_is_told() -> None:
    database, timer = Database(), Timer()
    database.errors = [StoreError("away")]

    async def pass_time(seconds: float) -> None:
        timer.now += seconds
        await asyncio.sleep(0)

    commits = GroupCommit(database, timeout=0.5, clock=timer, sleep=pass_time)
    await commits.__aenter__()
    commits.add(entry("a"), lambda: None)
    leaving = asyncio.create_task(commits.__aexit__(None, None, None))
    reading = asyncio.create_task(commits.flush())
    await leaving
    with pytest.raises(StoreError, match="away"):
        await reading


async def test_a_hanging_database_keeps_no_reader_for_longer_than_the_timeout() -> None:
    """Whether or not anybody else looks after those who wait."""
    database = Database()
    database.open.clear()
    async with GroupCommit(database, timeout=0.01, retry_every=0.01) as commits:
        commits.add(entry("a"), lambda: None)
        with pytest.raises(StoreError, match="longer than"):
            await commits.flush()
        database.open.set()
    assert database.groups == [["a"]]
