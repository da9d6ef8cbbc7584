"""Sagas: each step once, whoever tries and whatever dies; on both stores. Leaky Tokens' tests show a whole one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.errors import BadRequest, GateError, NotFound
from llmgate.plugin.api import AnyCall
from llmgate.plugin.kit.saga import (
    MAX_WAIT_S,
    Overtaken,
    Sagas,
    Steps,
    checked_key,
    idempotency_key,
    saga_columns,
)
from llmgate.plugin.kit.tables import optional, required
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

metadata = sa.MetaData()
orders = sa.Table(
    "test_orders",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    *optional(note=sa.Text),
    *saga_columns("test_orders"),
)
effects = sa.Table("test_effects", metadata, *required(what=sa.Text))


@dataclass(frozen=True)
class Order:
    id: str
    note: str | None
    status: str
    version: int
    attempts: int
    due_at: float | None
    created_at: float
    updated_at: float


@dataclass
class Shop(Steps[Order]):
    """From NEW to PAID with an effect, to DONE; fails with each of `failures` first."""

    store: Store
    failures: list[Exception] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sagas: Sagas[Order] = Sagas(self.store, orders, Order, what="order", announce=self._announce)
        super().__init__(self.sagas, clock=self.store.clock, what="order")

    async def begin(self, order_id: str = "a") -> Order:
        order, _ = await self.sagas.begin({"id": order_id, "status": "NEW"}, same=orders.c.id == order_id)
        return order

    def step(self, saga: Order) -> Callable[[Order], Awaitable[Order]]:
        return {"NEW": self._pay, "PAID": self._end}[saga.status]

    async def _pay(self, order: Order) -> Order:
        if self.failures:
            raise self.failures.pop(0)
        return await self.to(order, "PAID", self._effect, note="paid")

    async def _end(self, order: Order) -> Order:
        return await self.end(order, "DONE")

    async def _effect(self, db: AsyncConnection) -> None:
        await db.execute(effects.insert().values(what="paid"))

    async def _announce(self, _: AsyncConnection, order: Order) -> None:
        self.told.append(order.status)

    async def effects(self) -> int:
        async with self.store.connect() as db:
            return int(await db.scalar(sa.select(sa.func.count()).select_from(effects)) or 0)


@pytest.fixture
async def shop(store: Store) -> AsyncIterator[Shop]:
    async with store.begin() as db:
        await db.run_sync(metadata.create_all)
    yield Shop(store)
    async with store.begin() as db:
        await db.run_sync(metadata.drop_all)


async def test_a_saga_goes_to_its_end(shop: Shop) -> None:
    """Each status is told once, in the transaction that writes it."""
    order = await shop.begin()
    await shop.run()
    done = await shop.sagas.by_id(order.id)
    assert (done.status, done.due_at, done.note, done.version) == ("DONE", None, "paid", 2)
    assert (shop.told, await shop.effects()) == (["NEW", "PAID", "DONE"], 1)
    assert await shop.sagas.due() == []


async def test_of_two_that_take_a_step_one_has_taken_it(shop: Shop) -> None:
    """The effect is done once, and the other learns that it was overtaken."""
    order = await shop.begin()
    took = await asyncio.gather(*(Shop(shop.store).advance(order) for _ in range(4)))
    assert sum(each is not None for each in took) == 1
    assert await shop.effects() == 1
    with pytest.raises(Overtaken):
        await shop.sagas.take_step(order, "DONE", due_at=None)


async def test_a_step_whose_effect_fails_was_not_taken(shop: Shop) -> None:
    """All or nothing."""

    async def fail(db: AsyncConnection) -> None:
        await shop._effect(db)
        raise BadRequest("no")

    order = await shop.begin()
    with pytest.raises(BadRequest):
        await shop.sagas.take_step(order, "PAID", due_at=None, effect=fail)
    assert await shop.sagas.by_id(order.id) == order
    assert await shop.effects() == 0


@pytest.mark.parametrize("failure", [GateError("away"), ValueError("a fault")])
async def test_a_step_that_fails_is_tried_again_later_and_holds_nobody_up(
    shop: Shop, clock: Clock, failure: Exception
) -> None:
    """With growing pauses, up to a bound; a success begins anew."""
    order = await shop.begin()
    shop.failures = [failure] * 8
    for wait in (1, 2, 4, 8, 16, 32, MAX_WAIT_S, MAX_WAIT_S):
        await shop.run()
        assert (await shop.sagas.by_id(order.id)).due_at == clock.now + wait
        clock.pass_by(wait)
    await shop.begin("b")
    await shop.run()
    assert [each.status for each in await shop.sagas.where(orders.c.status == "DONE")] == ["DONE", "DONE"]


async def test_the_same_is_begun_once(shop: Shop) -> None:
    """Whoever comes second, at once or later, gets the one that there is."""
    begun = await asyncio.gather(
        *(shop.sagas.begin({"id": "a", "status": "NEW"}, same=orders.c.id == "a") for _ in range(4))
    )
    assert sum(is_new for _, is_new in begun) == 1
    assert {order.id for order, _ in begun} == {"a"}
    assert shop.told == ["NEW"]


async def test_a_decision_from_outside_wins_over_a_step_that_has_not_seen_it(
    shop: Shop, clock: Clock
) -> None:
    """And is due at once; where it comes too late it changes nothing."""
    order = await shop.begin()
    is_new = (orders.c.id == order.id) & (orders.c.status == "NEW")
    clock.pass_by(5)
    decided = await shop.sagas.interrupt(is_new, {"note": "decided"})
    assert decided is not None
    assert (decided.note, decided.due_at) == ("decided", clock.now)
    assert await shop.advance(order) is None
    await shop.run()
    assert await shop.sagas.interrupt(is_new, {"note": "late"}) is None


async def test_what_is_not_there_is_told_so(shop: Shop) -> None:
    """In the surface's word for it."""
    with pytest.raises(NotFound, match="There is no such order"):
        await shop.sagas.by_id("nobody's")


def test_an_idempotency_key_is_a_line_that_prints() -> None:
    """Of a bounded length; none is none."""

    class Asked:
        def header(self, name: str) -> str | None:
            return {"idempotency-key": "k-1"}.get(name)

    call: Any = Asked()
    typed: AnyCall = call
    assert idempotency_key(typed) == "k-1"
    assert checked_key(None) is None
    for key in ("", "k" * 101, "\n"):
        with pytest.raises(BadRequest, match="Idempotency-Key"):
            checked_key(key)
