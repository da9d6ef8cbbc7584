"""Two workers against a model of one account: any interleaving, kill -9, retries, limits, windows."""

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run

from llmgate.store.schema import metadata

from .worker import FORK, Worker

NOON = 1_800_014_400.0
DAY = 86_400.0
MIDNIGHT = NOON - NOON % DAY
WHICH = st.sampled_from([0, 1])


@dataclass
class Request:
    name: str
    worker: Worker
    window: float
    held: int
    noted: int | None = None


class Machine(RuleBasedStateMachine):
    """One account per day, shared by two workers, whose every word is checked against the model.

    With durability "journal" what has ended on a worker is in the database when somebody reads there, or `look`s.
    """

    url: str
    durability: str
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FORK.Value("d", NOON)
        empty(self.url)
        self.workers = [self.start(), self.start()]
        self.limit = self.highest = 100
        self.workers[0]("limit", 100)
        self.running: dict[str, Request] = {}
        self.records: dict[str, tuple[int, str]] = {}
        self.ended: dict[Worker, set[str]] = {}
        self.used: dict[float, int] = {}
        self.names = 0

    def start(self) -> Worker:
        return Worker(self.url, Path(self.folder.name), self.clock, self.durability)

    @property
    def window(self) -> float:
        return float(self.clock.value - self.clock.value % DAY)

    @rule(target=requests, which=WHICH, amount=st.integers(1, 60))
    def admit(self, which: int, amount: int) -> Any:
        """A request gets no more than is left, on whichever worker it comes in."""
        name = f"request-{self.names}"
        self.names += 1
        held = self.workers[which]("admit", name, amount)
        if held is None:
            return multiple()
        assert 1 <= held <= amount
        request = self.running[name] = Request(name, self.workers[which], self.window, held)
        holds = sum(one.held for one in self.running.values() if one.window == self.window)
        assert self.used.get(self.window, 0) + holds <= self.limit
        return request

    @rule(request=requests, share=st.floats(0, 1))
    def note(self, request: Request, share: float) -> None:
        """A stream goes on."""
        if request.name in self.running:
            request.noted = int(share * request.held)
            request.worker("note", request.name, request.noted)

    @rule(request=requests, share=st.floats(0, 1))
    def settle(self, request: Request, share: float) -> None:
        """Once or again: only the first counts, whatever dies from here on."""
        if request.worker in self.workers:
            request.worker("settle", request.name, int(share * request.held))
        if self.running.pop(request.name, None):
            self.book(request, int(share * request.held), "finished")
            self.ended.setdefault(request.worker, set()).add(request.name)

    def book(self, request: Request, used: int, outcome: str) -> None:
        self.records[request.name] = used, outcome
        self.used[request.window] = self.used.get(request.window, 0) + used

    @rule(request=consumes(requests))
    def abandon(self, request: Request) -> None:
        """A request that was held and never used anything."""
        if self.running.pop(request.name, None):
            request.worker("abandon", request.name)

    @rule(which=WHICH, settling=st.booleans())
    def kill(self, which: int, settling: bool) -> None:
        """kill -9, between slot and commit or in the middle of a commit; a new worker takes its place and recovers."""
        worker = self.workers[which]
        mine = [one for one in self.running.values() if one.worker is worker]
        torn = mine[0] if mine and settling else None
        if torn is not None:
            worker.send("settle", torn.name, torn.held)
        worker.kill()
        self.workers[which] = self.start()
        books = self.read_until({one.name for one in mine} | self.ended.pop(worker, set()))
        for one in mine:
            del self.running[one.name]
            used, outcome = books.records[one.name]
            assert (used, outcome) == (one.noted or 0, "lost") or (
                one is torn and (used, outcome) == (one.held, "finished")
            )
            self.book(one, used, outcome)

    @rule(which=WHICH, limit=st.integers(0, 200))
    def change_limit(self, which: int, limit: int) -> None:
        """An operator does it in any process, and it holds at once in every other."""
        self.workers[which]("limit", limit)
        self.limit = limit
        self.highest = max(self.highest, limit)

    @rule()
    def next_day(self) -> None:
        """The window turns, with requests running."""
        self.clock.value += DAY
        self.highest = self.limit

    @rule(which=WHICH)
    def read(self, which: int) -> None:
        """Whoever reads sees every answer that has ended on that worker before."""
        tokens, used = self.workers[which]("read")
        ended = self.ended.get(self.workers[which], set())
        assert {name: tokens.get(name) for name in ended} == {name: self.records[name][0] for name in ended}
        if self.durability == "commit":
            assert used == self.used.get(self.window, 0)

    @rule()
    def look(self) -> None:
        """Each request once, with what it used; the quota is their sum."""
        for worker in self.workers:
            worker("flush")
        books = read(self.url)
        assert books.records == self.records
        for window, used, _ in books.quotas:
            assert used == self.used.get(window, 0)

    @invariant()
    def the_books_are_right(self) -> None:
        """What is written is right; leases stay within the limit."""
        books = read(self.url)
        assert books.records.items() <= self.records.items()
        if self.durability == "commit":
            assert books.records == self.records
        for window, used, leased in books.quotas:
            assert used <= self.used.get(window, 0)
            if window == self.window:
                assert used + leased <= max(self.highest, used)

    def read_until(self, recorded: set[str]) -> "Books":
        """The books once these are in them: the other worker may be the one who recovers."""
        deadline = time.monotonic() + 30
        while not recorded <= (books := read(self.url)).records.keys():
            assert time.monotonic() < deadline, "what a dead worker left was not recovered"
        return books

    def teardown(self) -> None:
        for request in list(self.running.values()):
            request.worker("abandon", request.name)
        self.look()
        for worker in self.workers:
            worker.stop()
        assert list(Path(self.folder.name).iterdir()) == []
        assert all(leased == 0 for _, _, leased in read(self.url).quotas)
        self.folder.cleanup()


@dataclass
class Books:
    """What the database has: usage records, and of each quota its window, what is used and what is leased."""

    records: dict[str, tuple[int, str]]
    quotas: list[tuple[float, int, int]]


RECORDS = "SELECT request_id, input_tokens + output_tokens, outcome FROM usage"
QUOTAS = """SELECT window_start, used, (
    SELECT coalesce(sum(CASE WHEN granted > spent THEN granted - spent ELSE 0 END), 0) FROM leases
    WHERE quota_id = id AND leases.window_start = quotas.window_start
) FROM quotas"""


def query(url: str, *statements: str) -> list[list[Any]]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as db:
            return [db.execute(statement).fetchall() for statement in statements]
    return asyncio.run(_query(url, statements))


async def _query(url: str, statements: tuple[str, ...]) -> list[list[Any]]:
    import asyncpg

    db = await asyncpg.connect(url)
    try:
        return [[tuple(row) for row in await db.fetch(statement)] for statement in statements]
    finally:
        await db.close()


def read(url: str) -> Books:
    records, quotas = query(url, RECORDS, QUOTAS)
    return Books({name: (used, outcome) for name, used, outcome in records}, quotas)


def empty(url: str) -> None:
    query(url, *[f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)])  # noqa: S608


@pytest.mark.parametrize("durability", ["journal", "commit"])
@pytest.mark.parametrize(("database", "examples"), [("sqlite_url", 8), ("migrated_postgres", 4)])
def test_the_ledger_does_what_the_model_does(
    database: str, examples: int, durability: str, request: pytest.FixtureRequest
) -> None:
    """Processes are real, and so is kill -9."""
    how = durability

    class OnThisDatabase(Machine):
        url = request.getfixturevalue(database)
        durability = how

    run(
        OnThisDatabase,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
