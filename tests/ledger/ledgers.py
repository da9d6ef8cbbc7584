"""Ledgers to test with: opened on either database, and records to put into them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from llmgate.ledger import Allotment, Demand, Hold, Ledger, Subject, Unit, UsageRecord
from llmgate.ledger.commit import Committer
from llmgate.ledger.journal import Slot
from llmgate.ledger.postgres import PostgresCommitter
from llmgate.ledger.sqlite import SqliteCommitter
from llmgate.store import Store
from llmgate.store.schema import leases, quotas, usage

ANN = Subject("user", 1)
BOB = Subject("user", 2)
KEY = Subject("key", 7)


def record(request_id: str = "r-1", tokens: int = 0, **others: Any) -> UsageRecord:
    """A finished request that used so many tokens, all of them output."""
    fields = {
        "request_id": request_id,
        "at": 1_800_000_000.0,
        "user_id": 1,
        "key_id": 7,
        "organization_id": None,
        "surface": "",
        "route": "/v1",
        "upstream": "vllm",
        "model": "smol",
        "endpoint": "chat",
        "input_tokens": 0,
        "output_tokens": tokens,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost": 0,
        "certainty": "exact",
        "outcome": "finished",
        "status": 200,
        "duration": 0.5,
        "first_byte": 0.1,
    }
    return UsageRecord(**{**fields, **others})


def draft(request_id: str = "r-1") -> UsageRecord:
    """What is known of a request when it is admitted."""
    return record(request_id, certainty="estimated", outcome="lost", status=0, first_byte=None)


def tokens(limit: int, **others: Any) -> Allotment:
    return Allotment(Unit.TOKENS, limit, **others)


def committer_for(store: Store) -> Callable[[], Committer]:
    if store.url.get_backend_name() == "sqlite":
        return lambda: SqliteCommitter(Path(store.url.database or ""), busy_timeout=0.05)
    return lambda: PostgresCommitter(store.url)


async def soon(_seconds: float) -> None:
    """Waits, but not for long."""
    await asyncio.sleep(0.001)


@dataclass
class Timer:
    """A monotonic clock that moves when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def open_ledger(store: Store, folder: Path, **settings: Any) -> AbstractAsyncContextManager[Ledger]:
    """With the durability that a gate has on this database, if none is given."""
    durability = "journal" if store.url.get_backend_name() == "sqlite" else "commit"
    settings = {"sleep": soon, "durability": durability, **settings}
    return Ledger.open(store, settings.pop("committer", committer_for(store)), journals=folder, **settings)


async def reserve(ledger: Ledger, amount: int, *subjects: Subject) -> Hold:
    return await ledger.reserve(subjects or (ANN,), Demand(0, amount))


async def spend(
    ledger: Ledger, request_id: str, hold: Hold | None, used: int, slot: Slot | None = None
) -> None:
    await ledger.settle(record(request_id, used), hold, slot)


async def used(store: Store) -> list[int]:
    """What is used of every quota."""
    await store.flush()
    async with store.connect() as db:
        return list(await db.scalars(sa.select(quotas.c.used).order_by(quotas.c.id)))


async def records(store: Store) -> dict[str, tuple[int, str]]:
    """Tokens and outcome of every request in the ledger."""
    total = usage.c.input_tokens + usage.c.output_tokens
    await store.flush()
    async with store.connect() as db:
        rows = (await db.execute(sa.select(usage.c.request_id, total, usage.c.outcome))).all()
    return {request_id: (amount, outcome) for request_id, amount, outcome in rows}


async def leased(store: Store) -> int:
    """What all workers may still spend."""
    await store.flush()
    async with store.connect() as db:
        return int(
            await db.scalar(sa.select(sa.func.coalesce(sa.func.sum(leases.c.granted - leases.c.spent), 0)))
        )


async def until(condition: Callable[[], Any]) -> None:
    """Until `condition`, which may be a coroutine function, holds; what never does ends with the test run."""
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        await asyncio.sleep(0.001)
