"""The steps of a purchase: what is done again later, and what is given back."""

import pytest
from stores import Clock

from llmgate.errors import StoreError
from llmgate.ledger import Allotment, Quotas, Subject, Unit
from llmgate.store import Store
from llmgate_leaky_tokens.payments import PaymentDeclined, PaymentPending, PaymentUnavailable
from llmgate_leaky_tokens.saga import Status
from plugins.leaky_tokens.bank import PATIENCE, Shop


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
