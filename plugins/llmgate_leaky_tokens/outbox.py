"""Events for the outside, written in the transaction that they tell of and delivered at least once.

Purchases write theirs here (`add_event`); those of consumptions are written by a trigger on the ledger's
table, as only the ledger's own transaction knows that a record was written. A stream, which is one purchase
or one consumption, is delivered in order: an event that cannot be delivered holds up its own stream alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa

from llmgate.plugin.api import GateError, StoreError, usage_table, users_table

from .periodic import backoff
from .tables import delivery, outbox
from .words import moment

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

log = logging.getLogger("llmgate.leaky_tokens")

CLAIM = 60.0
"""Seconds that a process has for one delivery before another one tries."""
LONGEST_WAIT = 300.0
"""Seconds between two tries of an event that cannot be delivered."""


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


async def add_event(db: AsyncConnection, stream: str, event: str, payload: dict[str, Any], at: float) -> None:
    """Write an event within the transaction `db`, if events are delivered anywhere."""
    values = {
        "stream": sa.literal(stream, sa.Text),
        "event": sa.literal(event, sa.Text),
        "payload": sa.literal(msgspec.json.encode(payload).decode(), sa.Text),
        "at": sa.literal(at, sa.Double),
        "attempts": sa.literal(0, sa.Integer),
        "due_at": sa.literal(at, sa.Double),
    }
    source = sa.select(*values.values()).select_from(delivery)
    await db.execute(outbox.insert().from_select(list(values), source))


class Outbox:
    """Delivers the events in `store` to every one of `sinks`."""

    def __init__(self, store: Store, sinks: Sequence[Sink]) -> None:
        self._store = store
        self._sinks = sinks

    async def open(self) -> None:
        """Let events be written if they go anywhere; if not, none, and none that were left over."""
        async with self._store.begin() as db:
            if self._sinks:
                present = await db.scalar(sa.select(delivery.c.since).limit(1))
                if present is None:
                    await db.execute(delivery.insert().values(since=self._store.clock()))
            else:
                await db.execute(delivery.delete())
                await db.execute(outbox.delete())

    async def run(self) -> None:
        """Deliver everything that is due."""
        while rows := await self._due():
            for row in rows:
                if await self._claim(row):
                    await self._deliver(row)

    async def _due(self) -> Sequence[sa.Row[Any]]:
        """The first event of each stream, where that one is due."""
        earlier = outbox.alias()
        held_up = sa.exists().where(earlier.c.stream == outbox.c.stream, earlier.c.id < outbox.c.id)
        query = (
            sa.select(outbox)
            .where(outbox.c.due_at <= self._store.clock(), ~held_up)
            .order_by(outbox.c.id)
            .limit(100)
        )
        async with self._store.connect() as db:
            return (await db.execute(query)).all()

    async def _claim(self, row: sa.Row[Any]) -> bool:
        """Take the event for this process; False if another one has."""
        seen = (outbox.c.id == row.id) & (outbox.c.due_at == row.due_at)
        async with self._store.begin() as db:
            until = self._store.clock() + CLAIM
            return bool((await db.execute(outbox.update().where(seen).values(due_at=until))).rowcount)

    async def _deliver(self, row: sa.Row[Any]) -> None:
        done: sa.Executable = outbox.delete().where(outbox.c.id == row.id)
        try:
            event = await self._event(row)
            for sink in self._sinks:
                await sink.deliver(event)
        except StoreError:
            raise
        except Exception as error:  # whatever it is: one event must not hold up the others
            wait = backoff(row.attempts, longest=LONGEST_WAIT)
            known = isinstance(error, GateError)
            log.warning("event %d is sent again in %g s: %r", row.id, wait, error, exc_info=not known)
            again = {"attempts": row.attempts + 1, "due_at": self._store.clock() + wait}
            done = outbox.update().where(outbox.c.id == row.id).values(again)
        async with self._store.begin() as db:
            await db.execute(done)

    async def _event(self, row: sa.Row[Any]) -> Event:
        kind, data = row.event, row.payload
        if data is None:
            kind, consumption = await self._consumption(row.stream)
            data = msgspec.json.encode(consumption)
        else:
            data = data.encode()
        event_id = f"evt-{row.id}"
        body = {"id": event_id, "type": kind, "timestamp": moment(row.at), "data": msgspec.Raw(data)}
        return Event(event_id, kind, row.stream, msgspec.json.encode(body))

    async def _consumption(self, request_id: str) -> tuple[str, dict[str, Any]]:
        """The kind and the data of the event that a usage record stands for."""
        query = (
            sa.select(usage_table, users_table.c.uuid)
            .join_from(usage_table, users_table, users_table.c.id == usage_table.c.user_id, isouter=True)
            .where(usage_table.c.request_id == request_id)
        )
        async with self._store.connect() as db:
            record = (await db.execute(query)).one()
        allowed = record.outcome == "finished"
        return "tokens.consumed" if allowed else "tokens.denied", {
            "requestId": record.request_id,
            "userId": record.uuid,
            "provider": record.upstream,
            "tokens": record.booked,
            "allowed": allowed,
        }
