"""Events for the outside, written in the transaction that they tell of and delivered at least once.

Whoever changes something adds the event to the same transaction (`add_event`). What the ledger records for a
surface becomes events by `collect`: only the ledger's own transaction knows that a record was written, so the record
itself is the note that it has still to be told. A stream is delivered in order: an event that cannot be delivered
holds up its own stream alone, and is tried again with growing pauses. Nothing is written where nobody listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import sqlalchemy as sa

from ..api import NEVER_REUSED, GateError, IdColumn, StoreError, usage_table, users_table
from .formats import rfc3339
from .periodic import backoff

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..api import Store

log = logging.getLogger("llmgate")

CLAIM_S = 60.0
"""So long a process has for one delivery before another one tries."""
MAX_WAIT_S = 300.0
"""Between two tries of an event that cannot be delivered."""
PAGE = 100
"""Events that are looked at together."""


@dataclass(frozen=True, slots=True)
class Event:
    """What is told: `body` is JSON with `id`, `type`, `timestamp` and `data`. `id` is the same at each try."""

    id: str
    type: str
    stream: str
    body: bytes


class DeliveryFailed(GateError):
    """The receiver did not take an event; it is sent again."""


class Sink(Protocol):
    """Where events go."""

    async def deliver(self, event: Event) -> None:
        """Hand `event` over. Raises `DeliveryFailed`."""


class Tables(NamedTuple):
    """What an outbox keeps: `events` still to be told, and in `delivery` one row while they go anywhere."""

    events: sa.Table
    delivery: sa.Table


def outbox_tables(prefix: str, metadata: sa.MetaData) -> Tables:
    """The tables of a plugin's outbox, `PREFIX_outbox` and `PREFIX_delivery`; its migrations create them."""
    events = sa.Table(
        f"{prefix}_outbox",
        metadata,
        sa.Column("id", IdColumn, primary_key=True, autoincrement=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Index(f"ix_{prefix}_outbox_stream", "stream", "id"),
        sa.Index(f"ix_{prefix}_outbox_due_at", "due_at"),
        **NEVER_REUSED,
    )
    since = sa.Column("since", sa.Double, primary_key=True)
    return Tables(events, sa.Table(f"{prefix}_delivery", metadata, since))


Tell = Callable[[sa.Row[Any]], tuple[str, dict[str, Any]] | None]
"""The type and data of the event that a usage record (with its user's `uuid`) stands for; None: it is none."""


class Outbox:
    """Delivers the events in `tables` to every one of `sinks`.

    With `tell`, what the ledger records for `surface` from now on is told, too.
    """

    def __init__(
        self,
        store: Store,
        tables: Tables,
        sinks: Sequence[Sink],
        *,
        surface: str = "",
        tell: Tell | None = None,
    ) -> None:
        self._store = store
        self._events, self._delivery = tables
        self._sinks = sinks
        self._surface = surface
        self._tell = tell

    async def open(self) -> None:
        """Let events be written if they go anywhere; if not, none, and none that were left over."""
        async with self._store.begin() as db:
            if not self._sinks:
                await db.execute(self._delivery.delete())
                await db.execute(self._events.delete())
            elif await db.scalar(sa.select(self._delivery.c.since).limit(1)) is None:
                await db.execute(self._delivery.insert().values(since=self._store.clock()))
                # What was recorded while nobody listened is not told later.
                now = self._store.clock()
                await db.execute(usage_table.update().where(self._untold()).values(told_at=now))

    async def run(self) -> None:
        """Deliver everything that is due."""
        while await self._collect():
            pass
        while rows := await self._due():
            for row in rows:
                if await self._claim(row):
                    await self._deliver(row)

    async def _collect(self) -> bool:
        """Turn usage records that nobody was told of into events; whether there may be more."""
        if self._tell is None:
            return False
        usage = usage_table.c
        query = (
            sa.select(usage_table, users_table.c.uuid)
            .join_from(usage_table, users_table, users_table.c.id == usage.user_id, isouter=True)
            .where(self._untold())
            .order_by(usage.at)
            .limit(PAGE)
        )
        await self._store.flush()
        async with self._store.connect() as db:  # most rounds find nothing: they need no write lock
            if (await db.execute(query.limit(1))).first() is None:
                return False
        async with self._store.begin() as db:
            await self._store.serialize(db, f"outbox {self._surface}")
            records = (await db.execute(query)).all()
            for record in records:
                if (told := self._tell(record)) is not None:
                    await _insert(db, self._events, record.request_id, *told, at=record.at)
            ids = [record.request_id for record in records]
            mark = usage_table.update().where(usage.request_id.in_(ids))
            await db.execute(mark.values(told_at=self._store.clock()))
        return len(records) == PAGE

    def _untold(self) -> sa.ColumnElement[bool]:
        """Records of this surface that nobody was told of, as their partial index has them."""
        usage = usage_table.c
        return (usage.surface == self._surface) & sa.text("surface <> '' AND told_at IS NULL")

    async def _due(self) -> Sequence[sa.Row[Any]]:
        """The first event of each stream, where that one is due."""
        events, earlier = self._events, self._events.alias()
        held_up = sa.exists().where(earlier.c.stream == events.c.stream, earlier.c.id < events.c.id)
        query = (
            sa.select(events)
            .where(events.c.due_at <= self._store.clock(), ~held_up)
            .order_by(events.c.id)
            .limit(PAGE)
        )
        async with self._store.connect() as db:
            return (await db.execute(query)).all()

    async def _claim(self, row: sa.Row[Any]) -> bool:
        """Take the event for this process; False if another one has."""
        events = self._events
        seen = (events.c.id == row.id) & (events.c.due_at == row.due_at)
        async with self._store.begin() as db:
            until = self._store.clock() + CLAIM_S
            return bool((await db.execute(events.update().where(seen).values(due_at=until))).rowcount)

    async def _deliver(self, row: sa.Row[Any]) -> None:
        mine = self._events.c.id == row.id
        done: sa.Executable = self._events.delete().where(mine)
        try:
            for sink in self._sinks:
                await sink.deliver(_event(row))
        except StoreError:
            raise
        except Exception as error:  # whatever it is: one event must not hold up the others
            wait = backoff(row.attempts, longest=MAX_WAIT_S)
            known = isinstance(error, GateError)
            log.warning("event %d is sent again in %g s: %r", row.id, wait, error, exc_info=not known)
            again = {"attempts": row.attempts + 1, "due_at": self._store.clock() + wait}
            done = self._events.update().where(mine).values(again)
        async with self._store.begin() as db:
            await db.execute(done)


async def add_event(
    db: AsyncConnection, tables: Tables, stream: str, event: str, payload: dict[str, Any], *, at: float
) -> None:
    """Write an event within the transaction `db`, if events are delivered anywhere."""
    if await db.scalar(sa.select(tables.delivery.c.since).limit(1)) is not None:
        await _insert(db, tables.events, stream, event, payload, at=at)


async def _insert(
    db: AsyncConnection, events: sa.Table, stream: str, event: str, payload: dict[str, Any], *, at: float
) -> None:
    text = msgspec.json.encode(payload).decode()
    row = {"stream": stream, "event": event, "payload": text, "at": at, "attempts": 0, "due_at": at}
    await db.execute(events.insert().values(row))


def _event(row: sa.Row[Any]) -> Event:
    event_id, data = f"evt-{row.id}", msgspec.Raw(row.payload.encode())
    body = {"id": event_id, "type": row.event, "timestamp": rfc3339(row.at), "data": data}
    return Event(event_id, row.event, row.stream, msgspec.json.encode(body))
