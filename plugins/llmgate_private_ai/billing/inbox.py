"""Stripe's events: taken once, kept before Stripe is told so, and worked off until that succeeds.

Whatever dies in between, an event that was answered with 200 has its effect, and has it once: the row says whether it
was worked off, in the same transaction as what it did.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from llmgate.plugin.api import NotFound, Refusal
from llmgate.plugin.kit.periodic import backoff

from .events import Change, Effect, Event, effect_of, parse
from .tables import stripe_events

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..parts import Parts
    from ..teams import Team
    from .stripe_gateway import NoStripe, StripeGateway

log = logging.getLogger("llmgate.private_ai")

LONGEST_BACKOFF = 3600.0
KEPT_FOR = 30 * 86_400.0
"""Seconds for which what was done is remembered: Stripe repeats an event for three days."""


class StripeInbox:
    """See the module's text."""

    def __init__(self, parts: Parts, stripe: StripeGateway | NoStripe) -> None:
        self._parts = parts
        self._store = parts.gate.store
        self._stripe = stripe

    async def take(self, event: Event, raw: bytes) -> bool:
        """Keep an event; False if it came before."""
        now = self._store.clock()
        row = {
            "id": event.id,
            "type": event.type,
            "body": raw.decode(),
            "received_at": now,
            "due_at": now,
            "tries": 0,
        }
        insert = self._store.insert(stripe_events).values(row).on_conflict_do_nothing()
        async with self._store.begin() as db:
            return bool((await db.execute(insert)).rowcount)

    async def work_off(self) -> None:
        """Do what is due, oldest first; what fails is due again later."""
        while (row := await self._next()) is not None:
            try:
                await self._do(parse(row.body.encode()))
                self._parts.wake()  # whoever asked for this event is told now
            except Refusal as error:  # Stripe does not answer, say
                log.warning("Stripe's event %s waits: %s", row.id, error)
                await self._postpone(row.id, row.tries + 1, str(error))

    async def forget(self) -> None:
        """Forget what was done long ago."""
        old = stripe_events.c.done_at < self._store.clock() - KEPT_FOR
        async with self._store.begin() as db:
            await db.execute(stripe_events.delete().where(old))

    async def _next(self) -> sa.Row[tuple[str, str, int]] | None:
        due = (
            sa.select(*stripe_events.c["id", "body", "tries"])
            .where(stripe_events.c.done_at.is_(None), stripe_events.c.due_at <= self._store.clock())
            .order_by(stripe_events.c.received_at, stripe_events.c.id)
            .limit(1)
        )
        async with self._store.connect() as db:
            return (await db.execute(due)).first()

    async def _do(self, event: Event) -> None:
        effect, team = effect_of(event), None
        if effect is not None:
            team = await self._team(effect.customer)
        products: Sequence[str] = ()
        if effect is not None and team is not None:
            products = await self._products(effect)
        async with self._store.change() as db:
            await self._store.serialize(db, f"stripe event {event.id}")
            undone = sa.select(stripe_events.c.id).where(
                stripe_events.c.id == event.id, stripe_events.c.done_at.is_(None)
            )
            if await db.scalar(undone) is None:
                return
            if effect is not None and team is not None:
                await self._apply(db, effect, team, products)
            await self._parts.webhooks.announce(db, None if team is None else team.id, event)
            done = {"done_at": self._store.clock(), "error": None}
            await db.execute(stripe_events.update().where(stripe_events.c.id == event.id).values(done))

    async def _team(self, customer: str) -> Team | None:
        try:
            return await self._parts.teams.with_customer(customer)
        except NotFound:
            return None  # somebody else's customer at the same Stripe account

    async def _products(self, effect: Effect) -> Sequence[str]:
        """What the effect is about, as Stripe has it now."""
        products = effect.products
        if not products and effect.subscription is not None:
            products = (await self._stripe.subscription(effect.subscription)).products
        if effect.change is not Change.UNLINK:
            return products
        live = {product for one in await self._stripe.live(effect.customer) for product in one.products}
        return [product for product in products if product not in live]

    async def _apply(self, db: AsyncConnection, effect: Effect, team: Team, products: Sequence[str]) -> None:
        parts = self._parts
        if effect.change is Change.UNLINK:
            for product in products:
                await parts.products.unlink(team.id, product, db)
            await parts.terms.follow_trial(db, await parts.teams.by_id(team.id, db))
            return
        for product in products:
            await parts.products.link(team.id, product, db)
        paid = self._store.clock() if effect.since is None else effect.since
        team = await parts.teams.update(db, team.id, {"last_payment": paid})
        await parts.terms.renew(db, team)

    async def _postpone(self, event_id: str, tries: int, error: str) -> None:
        later = {
            "tries": tries,
            "due_at": self._store.clock() + backoff(tries, longest=LONGEST_BACKOFF),
            "error": error[:500],
        }
        async with self._store.begin() as db:
            await db.execute(stripe_events.update().where(stripe_events.c.id == event_id).values(later))
