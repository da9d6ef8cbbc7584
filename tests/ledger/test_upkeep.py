"""How often a worker looks for the calls of others."""

import asyncio
from pathlib import Path

from llmgate.ledger import Quotas
from llmgate.ledger.reservations import LEASE_TRIES, POLL_INTERVAL_S
from llmgate.ledger.upkeep import IDLE_POLL_INTERVAL_S
from llmgate.store import Store

from .ledgers import ANN, open_ledger, reserve, soon, tokens, until


async def test_only_a_worker_that_has_something_to_give_back_looks_often(
    store: Store, tmp_path: Path
) -> None:
    """An idle gate should cost next to nothing, and one that holds what others want should hear them soon."""
    await Quotas(store).set(ANN, tokens(100))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        if task.get_name() == "llmgate-ledger-upkeep":
            slept.append(seconds)
        await soon(seconds)

    async with open_ledger(store, tmp_path / "workers", sleep=sleep) as ledger:
        await until(lambda: len(slept) > 2)
        assert set(slept) == {IDLE_POLL_INTERVAL_S}
        hold = await reserve(ledger, 50)
        await until(lambda: POLL_INTERVAL_S in slept)
        slept.clear()
        await until(lambda: len(slept) > 2)
        assert set(slept) == {POLL_INTERVAL_S}
        hold.release()


def test_a_worker_that_has_just_leased_hears_a_call_before_its_caller_gives_up() -> None:
    """The caller looks again after each of its waits but the first try, which has none."""
    assert IDLE_POLL_INTERVAL_S < (LEASE_TRIES - 1) * POLL_INTERVAL_S
