"""Purchases as a saga: each step is written down together with what it did, so that it happens exactly once.

    STARTED ──reserve the payment──> PAYMENT_RESERVED ──grow the quota──> TOKENS_ALLOCATED ──capture──> COMPLETED
       └──────────── declined ──────────────┴───────────── FAILED <─────── declined ───────┘

What a step is, and why it happens once, is told in `llmgate.plugin.kit.saga`. Payments are outside of the store.
A FAILED purchase with `due_at` still has to be compensated: its payment is cancelled. Tokens that were
allocated are taken back in the very transaction that makes it FAILED.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import Conflict, Subject
from llmgate.plugin.kit.saga import Sagas

from .tables import purchases

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store
    from llmgate.plugin.kit.access import Payer

APPROVED, REJECTED = "approved", "rejected"
"""What administrators decide about purchases."""


class Status(StrEnum):
    """How far a purchase has come."""

    STARTED = "STARTED"
    PAYMENT_RESERVED = "PAYMENT_RESERVED"
    TOKENS_ALLOCATED = "TOKENS_ALLOCATED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


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


class Purchases(Sagas[Purchase]):
    """The purchases in `store`; `announce` is told of each new status, in the transaction that writes it."""

    def __init__(
        self,
        store: Store,
        *,
        announce: Callable[[AsyncConnection, Purchase], Awaitable[object]],
        new_id: Callable[[], object] = uuid.uuid4,
    ) -> None:
        super().__init__(store, purchases, _purchase, what="purchase", announce=announce)
        self._new_id = new_id

    async def start(self, payer: Payer, provider: str, tokens: int, key: str | None) -> Purchase:
        """A new purchase, or the one that was started with the same idempotency key.

        Raises `Conflict` where that one was for something else.
        """
        wanted = {
            "organization_id": payer.organization.id if payer.organization is not None else None,
            "provider": provider,
            "tokens": tokens,
        }
        own = {"id": str(self._new_id()), "user_id": payer.user.id, "idempotency_key": key}
        same = (purchases.c.user_id == payer.user.id) & (purchases.c.idempotency_key == key)
        purchase, is_new = await self.begin({**wanted, **own, "status": Status.STARTED}, same=same)
        if not is_new and any(getattr(purchase, name) != value for name, value in wanted.items()):
            raise Conflict("This Idempotency-Key was used for another purchase.")
        return purchase

    async def undecided(self) -> list[Purchase]:
        """Those that have started and that nobody has decided about, oldest first."""
        return await self.where(_UNDECIDED)

    async def decide(self, purchase_id: str, decision: str) -> Purchase:
        """Note an administrator's decision. Raises `NotFound`, and `Conflict` where it comes too late."""
        purchase = await self.by_id(purchase_id)
        decided = await self.interrupt((purchases.c.id == purchase_id) & _UNDECIDED, {"decision": decision})
        if decided is None:
            raise Conflict(f"This purchase is {purchase.status} and was decided about.")
        return decided


_UNDECIDED = (purchases.c.status == Status.STARTED) & purchases.c.decision.is_(None)


def _purchase(*, status: str, **values: Any) -> Purchase:
    return Purchase(status=Status(status), **values)
