"""The tables of billing: Stripe's event is kept once, and the id of a webhook that is gone is never another's."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from stores import Clock

from llmgate.errors import StoreError
from llmgate.store import Store
from llmgate_private_ai.billing.tables import deliveries, stripe_events, webhooks
from llmgate_private_ai.tables import metadata

EVENT = {"id": "evt_1", "type": "invoice.paid", "body": "{}", "received_at": 1.0, "due_at": 1.0, "tries": 0}
WEBHOOK = {
    "uuid": "u", "url": "https://x.example", "events": "[]", "secret_sealed": "s", "is_active": True, "created_at": 1.0
}  # fmt: skip


def test_they_are_of_the_plugins_own_revisions() -> None:
    assert {stripe_events, webhooks, deliveries} <= set(metadata.sorted_tables)


async def test_an_event_is_kept_once(store_file: Path, clock: Clock) -> None:
    async with Store.open(f"sqlite:///{store_file}", clock=clock) as store:
        async with store.begin() as db:
            await db.execute(stripe_events.insert().values(EVENT))
        with pytest.raises(StoreError, match=r"private_ai_stripe_events\.id"):
            async with store.begin() as db:
                await db.execute(stripe_events.insert().values(EVENT))


async def test_an_id_is_not_given_again(store_file: Path, clock: Clock) -> None:
    async with Store.open(f"sqlite:///{store_file}", clock=clock) as store, store.begin() as db:
        first = await db.scalar(webhooks.insert().values(WEBHOOK).returning(webhooks.c.id))
        await db.execute(webhooks.delete())
        second = await db.scalar(webhooks.insert().values(WEBHOOK).returning(webhooks.c.id))
        assert second > first
        assert await db.scalar(sa.select(sa.func.count()).select_from(webhooks)) == 1
