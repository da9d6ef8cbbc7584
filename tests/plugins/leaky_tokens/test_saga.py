"""Purchases step by step, on both databases: each step once, whatever happens between two of them."""

import asyncio
from collections.abc import Callable

import pytest
from stores import Clock

from llmgate.errors import BadRequest, Conflict, NotFound, StoreError
from llmgate.ledger import Allotment, Quotas, Subject, Unit
from llmgate.plugin.kit.saga import Overtaken, checked_key
from llmgate.store import Store
from llmgate_leaky_tokens.payments import Manual, PaymentDeclined, PaymentPending, PaymentUnavailable
from llmgate_leaky_tokens.saga import Status
from plugins.leaky_tokens.bank import PATIENCE, Bank, Shop

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


# --- failure and compensation


async def test_a_declined_payment_fails_the_purchase(store: Store) -> None:
    shop = Shop(store)
    shop.bank.fail("reserve", PaymentDeclined("no money"))
    payer = await shop.payer()
    purchase = await shop.start(payer)
    await shop.steps.run()
    failed = await shop.purchases.by_id(purchase.id)
    assert (failed.status, failed.failure, failed.due_at) == (Status.FAILED, "no money", None)
    assert await shop.total(payer) == 0
    assert shop.bank.asked["capture"] == 0


async def test_tokens_that_cannot_be_paid_for_are_taken_back(store: Store) -> None:
    """Allocated, then the capture is declined: the quota is as before, the payment cancelled."""
    shop = Shop(store)
    shop.bank.fail("capture", PaymentDeclined("card expired"))
    payer = await shop.payer()
    subject = Subject("user", payer.user.id)
    await Quotas(store).set(subject, Allotment(Unit.TOKENS, 300, upstream="openai"))
    purchase = await shop.start(payer)
    await shop.steps.run()
    assert (await shop.purchases.by_id(purchase.id)).status == Status.FAILED
    assert await shop.total(payer) == 300
    assert shop.bank.state == {purchase.id: "cancelled"}


async def test_a_quota_that_cannot_grow_gives_the_payment_back(store: Store) -> None:
    shop = Shop(store)
    payer = await shop.payer()
    subject = Subject("user", payer.user.id)
    await Quotas(store).set(subject, Allotment(Unit.TOKENS, 2**62, upstream="openai"))
    purchase = await shop.start(payer)
    await shop.steps.run()
    assert (await shop.purchases.by_id(purchase.id)).status == Status.FAILED
    assert await shop.total(payer) == 2**62
    assert shop.bank.state == {purchase.id: "cancelled"}


async def test_a_crash_before_the_compensation_does_not_skip_it(store: Store) -> None:
    shop = Shop(store)
    shop.bank.fail("capture", PaymentDeclined("card expired"))
    payer = await shop.payer()
    purchase = await shop.start(payer)
    for _ in range(3):
        following = await shop.steps.advance(purchase)
        assert following is not None
        purchase = following
    assert purchase.status == Status.FAILED
    assert shop.bank.state == {purchase.id: "reserved"}
    await Shop(store, shop.bank).steps.run()
    assert shop.bank.state == {purchase.id: "cancelled"}
    assert await shop.total(payer) == 0


@pytest.mark.parametrize("verb", ["reserve", "capture", "cancel"])
@pytest.mark.parametrize("error", [PaymentUnavailable("away"), RuntimeError("a bug")])
async def test_a_payment_service_that_fails_is_asked_again_later(
    store: Store, clock: Clock, verb: str, error: Exception
) -> None:
    """After 1, 2 and 4 seconds, and nobody else has to wait for it."""
    shop = Shop(store)
    shop.bank.fail(verb, error, error, error)
    if verb == "cancel":
        shop.bank.fail("capture", PaymentDeclined("no"))
    payer = await shop.payer()
    purchase = await shop.start(payer)
    for wait in (1.0, 2.0, 4.0):
        await shop.steps.run()
        assert (await shop.purchases.by_id(purchase.id)).due_at == clock.now + wait
        clock.pass_by(wait)
    await shop.steps.run()
    done = await shop.purchases.by_id(purchase.id)
    assert (done.status, done.due_at) == (Status.FAILED if verb == "cancel" else Status.COMPLETED, None)
    assert shop.bank.asked[verb] == 4


async def test_a_store_that_fails_is_no_fault_of_the_purchase(store: Store) -> None:
    shop = Shop(store)
    shop.bank.fail("reserve", StoreError("locked"))
    purchase = await shop.start(await shop.payer())
    with pytest.raises(StoreError):
        await shop.steps.advance(purchase)
    assert await shop.purchases.by_id(purchase.id) == purchase


async def test_a_payment_that_nobody_confirms_fails_in_time(store: Store, clock: Clock) -> None:
    shop = Shop(store)
    pending = PaymentPending(ask_again=5.0, payment="pi_1", client_secret="pi_1_secret")
    shop.bank.fail("reserve", *[pending] * 1000)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    await shop.steps.run()
    waiting = await shop.purchases.by_id(purchase.id)
    assert (waiting.status, waiting.due_at) == (Status.STARTED, clock.now + 5)
    assert (waiting.payment, waiting.client_secret) == ("pi_1", "pi_1_secret")
    clock.pass_by(PATIENCE)
    await shop.steps.run()
    failed = await shop.purchases.by_id(purchase.id)
    assert (failed.status, failed.failure) == (Status.FAILED, "the payment was not confirmed in time")
    assert failed.client_secret is None
    assert shop.bank.state == {purchase.id: "cancelled"}


# --- decisions of administrators


def manual(store: Store) -> Shop:
    shop = Shop(store)
    shop.steps._payment = Manual()
    return shop


async def test_a_purchase_waits_for_an_administrator(store: Store) -> None:
    shop = manual(store)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    await shop.steps.run()
    assert [waiting.id for waiting in await shop.purchases.undecided()] == [purchase.id]
    await shop.purchases.decide(purchase.id, "approved")
    await shop.steps.run()
    assert (await shop.purchases.by_id(purchase.id)).status == Status.COMPLETED
    assert await shop.total(payer) == 1000
    assert await shop.purchases.undecided() == []


@pytest.mark.parametrize("shop_of", [manual, Shop])
async def test_a_rejected_purchase_fails(store: Store, shop_of: Callable[[Store], Shop]) -> None:
    """However it would have been paid."""
    shop = shop_of(store)
    payer = await shop.payer()
    purchase = await shop.start(payer)
    await shop.purchases.decide(purchase.id, "rejected")
    await shop.steps.run()
    failed = await shop.purchases.by_id(purchase.id)
    assert (failed.status, failed.failure) == (Status.FAILED, "rejected by an administrator")
    assert await shop.total(payer) == 0


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


def test_the_bank_of_these_tests_is_a_payment() -> None:
    """Its verbs are those of the seam."""
    from llmgate_leaky_tokens.payments import Payment

    payment: Payment = Bank()
    assert payment
