"""Placing holds: what is only held is waited for, what is spent is refused, what cannot be counted now is neither."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmgate.errors import QuotaExhausted, QuotaHeld, Unavailable
from llmgate.ledger import Demand, Ledger, Quotas
from llmgate.store import Store

from .ledgers import ANN, Timer, open_ledger, reserve, spend, tokens, used


@pytest.fixture
async def ledger(store: Store, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(store, tmp_path / "workers", timer=Timer()) as ledger:
        yield ledger


async def test_a_request_waits_for_what_others_hold_and_do_not_use(ledger: Ledger, store: Store) -> None:
    """It fits once they have ended, so it is not told that the quota is spent."""
    await Quotas(store).set(ANN, tokens(100))
    first = await reserve(ledger, 100)
    waiting = asyncio.create_task(reserve(ledger, 51))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await spend(ledger, "a", first, 20)
    assert (await waiting).max_output is None


async def test_many_at_once_all_fit_in_the_end(ledger: Ledger, store: Store) -> None:
    """Seven requests of 51 on a quota of 500, each of which asks for more than it uses."""
    await Quotas(store).set(ANN, tokens(500))

    async def request(number: int) -> int | None:
        hold = await ledger.reserve([ANN], Demand(51, 449))
        await asyncio.sleep(0.002)
        await spend(ledger, str(number), hold, 51)
        return hold.max_output

    await asyncio.gather(*map(request, range(7)))
    assert await used(store) == [7 * 51]


async def test_what_is_held_for_too_long_is_told_as_that(ledger: Ledger, store: Store) -> None:
    """429 with Retry-After, unlike a spent quota, which is final."""
    await Quotas(store).set(ANN, tokens(100))
    running = await reserve(ledger, 100)
    with pytest.raises(QuotaHeld) as held:
        await reserve(ledger, 1)
    assert (held.value.answer_status, held.value.headers) == (429, [(b"retry-after", b"1")])
    with pytest.raises(QuotaExhausted) as never:
        await ledger.reserve([ANN], Demand(101))
    assert not isinstance(never.value, QuotaHeld), "not even if all that is held came back"
    await spend(ledger, "a", running, 100)
    with pytest.raises(QuotaExhausted) as spent:
        await reserve(ledger, 1)
    assert not isinstance(spent.value, QuotaHeld)
    assert (spent.value.unit, spent.value.used, spent.value.limit) == ("tokens", 100, 100)


async def test_what_another_worker_holds_is_not_spent_either(store: Store, tmp_path: Path) -> None:
    await Quotas(store).set(ANN, tokens(100))
    timer = Timer()
    async with open_ledger(store, tmp_path) as one, open_ledger(store, tmp_path, timer=timer) as two:
        running = await reserve(one, 100)
        with pytest.raises(QuotaHeld):
            await reserve(two, 10)
        await spend(one, "a", running, 95)
        timer.now += 1.5  # what it was told of the other worker is looked up again after a second
        with pytest.raises(QuotaExhausted) as spent:
            await two.reserve([ANN], Demand(10))
        assert not isinstance(spent.value, QuotaHeld)


async def test_a_prompt_that_cannot_be_counted_now_may_be_sent_again(ledger: Ledger, store: Store) -> None:
    """Its bound does not fit, its length might: 503, never a final 429. What fits shorter goes on as it is."""
    await Quotas(store).set(ANN, tokens(100))

    async def away() -> int | None:
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        await ledger.reserve([ANN], Demand(400, 10), count=away)
    hold = await ledger.reserve([ANN], Demand(40, 80), count=away)
    assert hold.max_output == 60
    hold.release()
    assert ledger.state().held["tokens"] == 0


async def test_a_guess_takes_the_prompt_for_what_was_counted(ledger: Ledger, store: Store) -> None:
    """Never for more than the backend's own tokenizer has said."""
    await Quotas(store).set(ANN, tokens(100))

    async def ten() -> int | None:
        return 10

    hold = await ledger.reserve([ANN], Demand(400, 20), count=ten)
    assert hold.input == 10
