"""Purchases step by step, on both databases: each step once, whatever happens between two of them."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from llmgate.errors import BadRequest, Conflict, NotFound
from llmgate.ledger import Allotment, Quotas, Subject, Unit
from llmgate.plugin.kit.saga import Overtaken, checked_key
from llmgate.store import Store
from llmgate_leaky_tokens.saga import Purchase, Purchases, Status
from plugins.leaky_tokens.bank import Shop, manual

ORDER = [Status.STARTED, Status.PAYMENT_RESERVED, Status.TOKENS_ALLOCATED, Status.COMPLETED]


async def test_a_purchase_goes_its_way_step_by_step(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    seen = [purchase.status]
    while purchase.due_at is not None:
        following = await shop.steps.advance(purchase)
        assert following is not None
        purchase = following
        seen.append(purchase.status)
    assert seen == ORDER
    assert await shop.total(payer) == 1000
    assert shop.bank.state == {purchase.id: "captured"}
    assert purchase.payment == f"payment-of-{purchase.id}"


@pytest.mark.parametrize("steps", range(4))
async def test_after_a_crash_in_any_state_it_finishes_exactly_once(store: Store, steps: int) -> None:
    """The process dies after `steps` steps; the next one goes on where it was."""
    shop = Shop(store)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    for _ in range(steps):
        following = await shop.steps.advance(purchase)
        assert following is not None
        purchase = following
    assert purchase.status == ORDER[steps]
    restarted = Shop(store, shop.bank)
    await restarted.steps.run()
    assert (await restarted.purchases.by_id(purchase.id)).status == Status.COMPLETED
    assert await restarted.total(payer) == 1000
    assert restarted.bank.state == {purchase.id: "captured"}
    assert await restarted.purchases.due() == []


@pytest.mark.parametrize("verb", ["reserve", "capture"])
async def test_a_crash_between_the_payment_and_its_note_pays_once(store: Store, verb: str) -> None:
    """The bank has done it, nobody has written it down: it is asked again and knows the purchase."""
    shop = Shop(store)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    while purchase.status != (Status.STARTED if verb == "reserve" else Status.TOKENS_ALLOCATED):
        following = await shop.steps.advance(purchase)
        assert following is not None
        purchase = following
    await getattr(shop.bank, verb)(purchase)
    await Shop(store, shop.bank).steps.run()
    assert (await shop.purchases.by_id(purchase.id)).status == Status.COMPLETED
    assert shop.bank.state == {purchase.id: "captured"}
    assert await shop.total(payer) == 1000


async def test_two_processes_take_each_step_once(store: Store) -> None:
    """Both see the same purchase at the same time, in every state."""
    shop, other = Shop(store), Shop(store)
    other.steps = Shop(store, shop.bank).steps
    payer = await shop.payer()
    purchase = await shop.start(payer)
    for status in ORDER[1:]:
        took = await asyncio.gather(shop.steps.advance(purchase), other.steps.advance(purchase))
        (taken,) = [each for each in took if each is not None]
        assert taken.status == status
        purchase = taken
    assert await shop.total(payer) == 1000


async def test_many_runners_complete_many_purchases_once_each(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    for _ in range(10):
        await shop.start(payer, 100)
    await asyncio.gather(*(Shop(store, shop.bank).steps.run() for _ in range(3)))
    await shop.steps.run()
    assert await shop.total(payer) == 1000
    assert set(shop.bank.state.values()) == {"captured"}


async def test_what_was_bought_is_added_to_what_is_there(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    quotas, subject = Quotas(store), Subject("user", payer.user.id)
    await quotas.set(subject, Allotment(Unit.TOKENS, 300, upstream="openai", overdraft=7))
    await shop.start(payer)
    await shop.steps.run()
    (balance,) = await quotas.of(subject)
    assert (balance.allotment.limit, balance.allotment.overdraft) == (1300, 7)


async def test_what_is_not_announced_does_not_happen(store: Store) -> None:
    """Each new status is told of in the transaction that writes it: where that fails, the purchase stays as it was."""
    told: list[Status] = []

    async def announce(_: AsyncConnection, purchase: Purchase) -> None:
        told.append(purchase.status)
        if purchase.status == Status.PAYMENT_RESERVED:
            raise ZeroDivisionError

    purchases = Purchases(store, announce=announce)
    purchase = await purchases.start(await Shop(store).payer(), "openai", 10, None)
    with pytest.raises(ZeroDivisionError):
        await purchases.take_step(purchase, Status.PAYMENT_RESERVED, due_at=None)
    assert told == [Status.STARTED, Status.PAYMENT_RESERVED]
    assert await purchases.by_id(purchase.id) == purchase


# --- failure and compensation


# --- decisions of administrators


async def test_of_two_decisions_the_first_counts(store: Store) -> None:
    shop = manual(store)
    purchase = await shop.start(await shop.payer())
    decisions = [shop.purchases.decide(purchase.id, word) for word in ("approved", "rejected")]
    results = await asyncio.gather(*decisions, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Purchase"]
    with pytest.raises(NotFound):
        await shop.purchases.decide("nobody's", "approved")


async def test_a_decision_overtakes_a_step_that_is_under_way(store: Store) -> None:
    """The step has seen no decision; what it would write is not written."""
    shop = manual(store)
    seen = await shop.start(await shop.payer())
    await shop.purchases.decide(seen.id, "approved")
    assert await shop.steps.advance(seen) is None
    with pytest.raises(Overtaken):
        await shop.purchases.take_step(seen, Status.FAILED, due_at=None)


# --- idempotency


async def test_the_same_key_and_order_are_the_same_purchase(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    first = await shop.start(payer, 1000, "purchase-001")
    await shop.steps.run()
    again = await shop.start(payer, 1000, "purchase-001")
    assert (again.id, again.status) == (first.id, Status.COMPLETED)
    await shop.steps.run()
    assert await shop.total(payer) == 1000


async def test_the_same_key_for_another_order_is_a_conflict(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    await shop.start(payer, 1000, "purchase-001")
    with pytest.raises(Conflict):
        await shop.start(payer, 1001, "purchase-001")
    with pytest.raises(Conflict):
        await shop.purchases.start(payer, "qwen", 1000, "purchase-001")


async def test_keys_are_each_users_own(store: Store) -> None:
    shop = Shop(store)
    first = await shop.start(await shop.payer(), 1000, "purchase-001")
    assert (await shop.start(await shop.payer("other"), 500, "purchase-001")).id != first.id


async def test_concurrent_submits_are_one_purchase(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    started = await asyncio.gather(*(shop.start(payer, 1000, "purchase-001") for _ in range(8)))
    assert len({purchase.id for purchase in started}) == 1
    await shop.steps.run()
    assert await shop.total(payer) == 1000


async def test_without_a_key_every_submit_is_a_purchase(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    assert (await shop.start(payer)).id != (await shop.start(payer)).id


def test_a_key_has_at_most_100_printable_characters() -> None:
    assert checked_key("k" * 100) == "k" * 100
    assert checked_key(None) is None
    for bad in ("", "k" * 101, "a\x7fb"):
        with pytest.raises(BadRequest):
            checked_key(bad)
