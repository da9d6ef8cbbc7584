"""Ways to pay that need nobody else."""

from collections.abc import Callable

import pytest

from llmgate.store import Store
from llmgate_leaky_tokens.payments import Instant, Manual, PaymentPending
from llmgate_leaky_tokens.saga import Status
from plugins.leaky_tokens.bank import Bank, Shop, manual


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


def test_the_bank_of_these_tests_is_a_payment() -> None:
    """Its verbs are those of the seam."""
    from llmgate_leaky_tokens.payments import Payment

    payment: Payment = Bank()
    assert payment


async def test_what_costs_nothing_is_reserved_captured_and_let_go(store: Store) -> None:
    """As often as it is asked for, under the purchase's own name."""
    shop = Shop(store)
    purchase = await shop.start(await shop.payer())
    payment = Instant()
    assert [await payment.reserve(purchase) for _ in range(2)] == [f"instant-{purchase.id}"] * 2
    await payment.capture(purchase)
    await payment.cancel(purchase)


async def test_who_decides_says_so_and_is_not_asked_again(store: Store) -> None:
    """Nothing is looked at before, so there is no time at which to look."""
    shop = manual(store)
    purchase = await shop.start(await shop.payer())
    with pytest.raises(PaymentPending) as pending:
        await Manual().reserve(purchase)
    assert pending.value.ask_again is None
    decided = await shop.purchases.decide(purchase.id, "approved")
    assert await Manual().reserve(decided) == f"manual-{purchase.id}"
