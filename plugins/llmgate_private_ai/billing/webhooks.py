"""Webhooks out: whoever asked for an event is told of it, at least once, signed, with back-off.

A delivery is written in the transaction of what it tells of. The body is `{id, type, created, data}`; the header
`Webhook-Signature: t=SECONDS,v1=HEX` has HMAC-SHA256 with the webhook's secret over `SECONDS.BODY`, as Stripe signs.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import sqlalchemy as sa

from llmgate.plugin.api import NotFound, Place
from llmgate.plugin.kit.periodic import backoff

from .events import CHANGES, Event, signature_of
from .tables import deliveries, webhooks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import SealedBox, Store

log = logging.getLogger("llmgate.private_ai")

OWN_EVENTS = ("key.created", "key.deleted", "user.registered")
KNOWN_EVENTS = frozenset({*CHANGES, *OWN_EVENTS})
TIMEOUT_S = 10.0
MAX_TRIES = 20
LONGEST_BACKOFF = 3600.0
KEPT_FOR = 7 * 86_400.0
BATCH = 50


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook; `team_id` None: a system admin's, which is told of everything."""

    id: int
    uuid: str
    team_id: int | None
    url: str
    events: tuple[str, ...]
    is_active: bool
    created_at: float


class Webhooks:
    """The webhooks in `store`, and what is put on its way to them."""

    def __init__(self, store: Store, box: SealedBox) -> None:
        self._store = store
        self._box = box

    async def create(self, team_id: int | None, url: str, events: tuple[str, ...]) -> tuple[Webhook, str]:
        """A new one and its secret, which nobody can read again."""
        ident, secret = str(uuid.uuid4()), f"whsec_{secrets.token_hex(32)}"
        row = {
            "uuid": ident,
            "team_id": team_id,
            "url": url,
            "events": msgspec.json.encode(events).decode(),
            "secret_sealed": self._box.seal(secret, _place(ident)),
            "is_active": True,
            "created_at": self._store.clock(),
        }
        async with self._store.begin() as db:
            made = await db.execute(webhooks.insert().values(row).returning(*_COLUMNS))
            return _webhook(made.one()), secret

    async def all(self, team_id: int | None, *, every: bool = False) -> list[Webhook]:
        """Those of a team, or `every` one."""
        query = sa.select(*_COLUMNS).order_by(webhooks.c.id)
        if not every:
            query = query.where(webhooks.c.team_id == team_id)
        async with self._store.connect() as db:
            return [_webhook(row) for row in await db.execute(query)]

    async def delete(self, webhook_id: int, team_id: int | None, *, every: bool = False) -> None:
        """Tell it nothing more. Raises `NotFound`, also for another team's unless `every` one may go."""
        which = [webhooks.c.id == webhook_id]
        if not every:
            which.append(webhooks.c.team_id == team_id)
        async with self._store.begin() as db:
            found = await db.scalar(sa.select(webhooks.c.id).where(*which))
            if found is None:
                raise NotFound("Webhook not found")
            await db.execute(deliveries.delete().where(deliveries.c.webhook_id == found))
            await db.execute(webhooks.delete().where(webhooks.c.id == found))

    async def tell(self, db: AsyncConnection, team_id: int | None, kind: str, **data: object) -> None:
        """Announce something of the gate's own, one of `OWN_EVENTS`; `data` holds no secret."""
        event = Event(f"evt_{uuid.uuid4().hex}", kind, {"object": data}, self._store.clock())
        await self.announce(db, team_id, event)

    async def announce(self, db: AsyncConnection, team_id: int | None, event: Event) -> None:
        """Put an event on its way to all who want it, as a part of the transaction `db`."""
        theirs = webhooks.c.team_id == team_id  # null is equal to nothing
        mine = sa.or_(webhooks.c.team_id.is_(None), theirs)
        rows = await db.execute(sa.select(*_COLUMNS).where(mine, webhooks.c.is_active))
        now = self._store.clock()
        body = msgspec.json.encode(
            {"id": event.id, "type": event.type, "created": event.created or now, "data": event.data}
        ).decode()
        for one in map(_webhook, rows):
            if event.type in one.events:
                row = {"webhook_id": one.id, "body": body, "due_at": now, "tries": 0}
                await db.execute(deliveries.insert().values(row))


class Deliveries:
    """Sends what is on its way, by `http`, which asks no address that it must not."""

    def __init__(self, store: Store, box: SealedBox, http: httpx.AsyncClient) -> None:
        self._store = store
        self._box = box
        self._http = http

    async def work_off(self) -> None:
        """Send what is due; what fails is due again later, and given up after some twenty tries."""
        while batch := await self._due():
            for row in batch:
                await self._deliver(row)

    async def forget(self) -> None:
        """Forget what was delivered or given up some days ago."""
        old = deliveries.c.done_at < self._store.clock() - KEPT_FOR
        async with self._store.begin() as db:
            await db.execute(deliveries.delete().where(old))

    async def _due(self) -> list[sa.Row[Any]]:
        due = (
            sa.select(*deliveries.c["id", "body", "tries"], *webhooks.c["uuid", "url", "secret_sealed"])
            .join(webhooks)
            .where(deliveries.c.done_at.is_(None), deliveries.c.due_at <= self._store.clock())
            .order_by(deliveries.c.due_at, deliveries.c.id)
            .limit(BATCH)
        )
        async with self._store.connect() as db:
            return [*(await db.execute(due))]

    async def _deliver(self, row: sa.Row[Any]) -> None:
        secret = self._box.open(row.secret_sealed, _place(row.uuid))
        now, error = self._store.clock(), None
        headers = {
            "content-type": "application/json",
            "webhook-signature": signature(row.body.encode(), secret, at=int(now)),
        }
        try:
            answer = await self._http.post(row.url, content=row.body, headers=headers, timeout=TIMEOUT_S)
            if not answer.is_success:
                error = f"status {answer.status_code}"
        except (httpx.HTTPError, PermissionError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        tries = row.tries + 1
        values: dict[str, object] = {"tries": tries, "error": error}
        if error is None or tries >= MAX_TRIES:
            values["done_at"] = now
        else:
            values["due_at"] = now + backoff(tries, longest=LONGEST_BACKOFF)
        if error is not None:
            log.warning("webhook %s was not delivered (try %d): %s", row.uuid, tries, error)
        async with self._store.begin() as db:
            await db.execute(deliveries.update().where(deliveries.c.id == row.id).values(values))


def signature(body: bytes, secret: str, *, at: int) -> str:
    """The header that says who sent a body, and when."""
    return f"t={at},v1={signature_of(body, secret, at=str(at))}"


_COLUMNS = webhooks.c["id", "uuid", "team_id", "url", "events", "is_active", "created_at"]


def _webhook(row: sa.Row[Any]) -> Webhook:
    values = row._asdict()
    return Webhook(**{**values, "events": tuple(msgspec.json.decode(values["events"]))})


def _place(ident: str) -> Place:
    return Place("private_ai_webhooks", "secret_sealed", ident)
