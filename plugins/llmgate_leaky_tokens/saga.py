"""Purchases as a saga: each step is written down together with what it did, so that it happens exactly once.

    STARTED ──reserve the payment──> PAYMENT_RESERVED ──grow the quota──> TOKENS_ALLOCATED ──capture──> COMPLETED
       └──────────── declined ──────────────┴───────────── FAILED <─────── declined ───────┘

A step is a compare-and-set on the purchase's version, in one transaction with its effect on the quota and
with the event that tells of it. Whoever comes second, after a crash or in another process, changes nothing.
Payments are outside of the transaction; they are asked again after a crash, and know the purchase by its id.
A FAILED purchase with `due_at` still has to be compensated: its payment is cancelled. Tokens that were
allocated are taken back in the very transaction that makes it FAILED.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from llmgate.plugin.api import BadRequest, Conflict, NotFound, Subject

from .events import announce
from .tables import purchases

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store
    from llmgate.plugin.kit.access import Payer

APPROVED, REJECTED = "approved", "rejected"
"""What administrators decide about purchases."""

Effect = Callable[["AsyncConnection"], Awaitable[object]]


class Status(StrEnum):
    """How far a purchase has come."""

    STARTED = "STARTED"
    PAYMENT_RESERVED = "PAYMENT_RESERVED"
    TOKENS_ALLOCATED = "TOKENS_ALLOCATED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Overtaken(Exception):
    """Somebody else has taken this step."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase as stored: see the columns of `tables.purchases`."""

    id: str
    user_id: int
    organization_id: int | None
    provider: str
    tokens: int
    idempotency_key: str | None
    status: Status
    version: int
    decision: str | None
    payment: str | None
    client_secret: str | None
    failure: str | None
    attempts: int
    due_at: float | None
    created_at: float
    updated_at: float

    @property
    def subject(self) -> Subject:
        """Whose quota grows."""
        if self.organization_id is not None:
            return Subject("organization", self.organization_id)
        return Subject("user", self.user_id)


class Purchases:
    """The purchases in `store`."""

    def __init__(self, store: Store, *, new_id: Callable[[], object] = uuid.uuid4) -> None:
        self._store = store
        self._new_id = new_id

    async def start(self, payer: Payer, provider: str, tokens: int, key: str | None) -> Purchase:
        """A new purchase, or the one that was started with the same idempotency key.

        Raises `Conflict` where that one was for something else.
        """
        now = self._store.clock()
        organization_id = payer.organization.id if payer.organization is not None else None
        row = {
            "id": str(self._new_id()),
            "user_id": payer.user.id,
            "organization_id": organization_id,
            "provider": provider,
            "tokens": tokens,
            "idempotency_key": key,
            "status": Status.STARTED,
            "version": 0,
            "attempts": 0,
            "due_at": now,
            "created_at": now,
            "updated_at": now,
        }
        insert = self._store.insert(purchases).values(row).on_conflict_do_nothing()
        async with self._store.begin() as db:
            made = (await db.execute(insert.returning(purchases))).first()
            if made is not None:
                purchase = _purchase(made)
                await announce(db, purchase)
                return purchase
            same = (purchases.c.user_id == payer.user.id) & (purchases.c.idempotency_key == key)
            present = _purchase((await db.execute(sa.select(purchases).where(same))).one())
        if (present.organization_id, present.provider, present.tokens) != (organization_id, provider, tokens):
            raise Conflict("This Idempotency-Key was used for another purchase.")
        return present

    async def by_id(self, purchase_id: str) -> Purchase:
        """The purchase with this id. Raises `NotFound`."""
        async with self._store.connect() as db:
            row = (await db.execute(sa.select(purchases).where(purchases.c.id == purchase_id))).first()
        if row is None:
            raise NotFound("There is no such purchase.")
        return _purchase(row)

    async def due(self, limit: int = 100) -> list[Purchase]:
        """Those whose next step may be tried now, the longest waiting first."""
        query = sa.select(purchases).where(purchases.c.due_at <= self._store.clock())
        async with self._store.connect() as db:
            return [
                _purchase(row) for row in await db.execute(query.order_by(purchases.c.due_at).limit(limit))
            ]

    async def undecided(self, limit: int = 100) -> list[Purchase]:
        """Those that have started and that nobody has decided about, oldest first."""
        waiting = (purchases.c.status == Status.STARTED) & purchases.c.decision.is_(None)
        query = sa.select(purchases).where(waiting).order_by(purchases.c.created_at).limit(limit)
        async with self._store.connect() as db:
            return [_purchase(row) for row in await db.execute(query)]

    async def decide(self, purchase_id: str, decision: str) -> Purchase:
        """Note an administrator's decision. Raises `NotFound`, and `Conflict` where it comes too late."""
        purchase = await self.by_id(purchase_id)
        open_to = (
            (purchases.c.id == purchase_id)
            & (purchases.c.status == Status.STARTED)
            & purchases.c.decision.is_(None)
        )
        now = self._store.clock()
        update = (
            purchases.update()
            .where(open_to)
            .values(decision=decision, due_at=now, updated_at=now, version=purchases.c.version + 1)
        )
        async with self._store.begin() as db:
            row = (await db.execute(update.returning(purchases))).first()
        if row is None:
            raise Conflict(f"This purchase is {purchase.status} and was decided about.")
        return _purchase(row)

    async def take_step(
        self,
        purchase: Purchase,
        status: Status,
        *,
        due_at: float | None,
        effect: Effect | None = None,
        changes: Mapping[str, object] = MappingProxyType({}),
    ) -> Purchase:
        """Bring `purchase` to `status`, with `changes` of other columns, and do `effect`, all or nothing.

        Raises `Overtaken` if it is not any more what the caller has seen.
        """
        seen = (purchases.c.id == purchase.id) & (purchases.c.version == purchase.version)
        now = self._store.clock()
        update = (
            purchases.update()
            .where(seen)
            .values(status=status, due_at=due_at, updated_at=now, version=purchase.version + 1, **changes)
        )
        async with self._store.change() if effect is not None else self._store.begin() as db:
            row = (await db.execute(update.returning(purchases))).first()
            if row is None:
                raise Overtaken
            if effect is not None:
                await effect(db)
            taken = _purchase(row)
            if status != purchase.status:
                await announce(db, taken)
            return taken


def checked_key(key: str | None) -> str | None:
    """An Idempotency-Key as it came. Raises `BadRequest` unless it has 1 to 100 printable characters."""
    if key is not None and not (0 < len(key) <= 100 and key.isprintable()):
        raise BadRequest("Idempotency-Key: expected 1 to 100 printable characters")
    return key


def _purchase(row: sa.Row[tuple[object, ...]]) -> Purchase:
    values = row._asdict()
    return Purchase(**{**values, "status": Status(values["status"])})
