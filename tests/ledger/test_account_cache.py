"""The accounts that a worker keeps, and when it asks the store about them."""

from typing import Any

import pytest

from llmgate.ledger import Subject
from llmgate.ledger.account_cache import IDLE_FOR_S, LOOKS_REMEMBERED, AccountCache, CachedAccount
from llmgate.ledger.leases import Lease

from .ledgers import ANN, BOB, Timer, tokens

DAY = 86_400.0


def lease(granted: int = 100, *, quota_id: int = 1, start: float = 0.0, **terms: Any) -> Lease:
    terms = {"allotment": tokens(1000), "valid_until": start + DAY, **terms}
    return Lease(quota_id, start, granted=granted, **terms)


class Leases:
    """A store that grants what it is told to."""

    def __init__(self) -> None:
        self.asked: list[Subject] = []
        self.closed: list[Any] = []
        self.gave_back: list[Any] = []
        self.answer: list[Lease] | Exception = [lease()]
        self.moved: list[Subject] = []
        self.short: set[int] = set()

    async def lease(self, subject: Subject, wanted: list[Lease]) -> list[Lease]:
        self.asked.append(subject)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def changed(self) -> list[Subject]:
        return self.moved

    async def close(self, quota_ids: Any) -> None:
        self.closed.append(list(quota_ids))

    async def contended(self) -> set[int]:
        return self.short

    async def give_back(self, kept: list[Lease]) -> None:
        self.gave_back.append(kept)


class Workers:
    """One worker alone."""

    lease_valid = True
    uses_heartbeat = False
    worker_id = "me"


class Changes:
    """A stamp that the test moves."""

    stamp = 1

    def current(self) -> int:
        return self.stamp


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def clock() -> Timer:
    return Timer()


@pytest.fixture
def cache(leases: Leases, changes: Changes, clock: Timer) -> AccountCache:
    made: Any = AccountCache
    cache: AccountCache = made(leases, Workers(), changes, clock=clock)
    return cache


async def test_the_store_is_asked_once_for_a_subject(cache: AccountCache, leases: Leases) -> None:
    assert cache.get_cached((ANN,), "vllm", "small") is None
    [account] = await cache.get((ANN,), "vllm", "small")
    assert cache.get_cached((ANN,), "vllm", "small") == (account,)
    assert await cache.get((ANN,), "vllm", "small") == (account,)
    assert leases.asked == [ANN]
    assert (account.room, list(cache.accounts())) == (100, [account])


async def test_it_is_asked_again_when_a_window_turns(
    cache: AccountCache, leases: Leases, clock: Timer
) -> None:
    """What was held in the old window does not come back to the new one."""
    leases.answer = [lease(valid_until=clock.now + 10)]
    [old] = await cache.get((ANN,), "vllm", "small")
    old.held = 7
    clock.now += 10
    leases.answer = [lease(start=5.0, valid_until=clock.now + DAY)]
    [new] = await cache.get((ANN,), "vllm", "small")
    assert new is not old
    assert (new.held, leases.asked) == (0, [ANN, ANN])


async def test_a_change_outdates_those_whom_it_is_about(
    cache: AccountCache, leases: Leases, changes: Changes
) -> None:
    await cache.get((ANN, BOB), "vllm", "small")
    changes.stamp, leases.moved = 2, [BOB]
    assert cache.get_cached((ANN,), "vllm", "small") is None, "whose quotas it was about is not known yet"
    await cache.get((ANN, BOB), "vllm", "small")
    assert leases.asked == [ANN, BOB, BOB]


async def test_quotas_of_other_models_are_not_drawn_on(cache: AccountCache, leases: Leases) -> None:
    leases.answer = [lease(), lease(quota_id=2, allotment=tokens(5, model="large"))]
    assert [account.quota_id for account in await cache.get((ANN,), "vllm", "small")] == [1]
    assert [account.quota_id for account in await cache.get((ANN,), "vllm", "large")] == [1, 2]


async def test_while_the_store_is_asked_about_a_subject_nobody_decides_by_what_is_remembered(
    cache: AccountCache, leases: Leases
) -> None:
    """What no request holds is on offer to the other workers meanwhile."""
    [account] = await cache.get((ANN,), "vllm", "small")
    seen: list[Any] = []
    lease_more = leases.lease

    async def lease(subject: Subject, wanted: list[Lease]) -> list[Lease]:
        seen.extend(
            [cache.get_cached((ANN,), "vllm", "small"), cache.get_cached((BOB, ANN), "vllm", "small")]
        )
        return await lease_more(subject, wanted)

    await cache.get((BOB, ANN), "vllm", "small")
    leases.lease = lease  # type: ignore[method-assign]
    await cache.extend(account, 1000, from_others=False)
    assert seen == [None, None]
    assert cache.get_cached((ANN,), "vllm", "small") == (account,)


async def test_what_other_workers_are_short_of_is_asked_for_before_the_next_decision(
    cache: AccountCache, leases: Leases
) -> None:
    await cache.get((ANN,), "vllm", "small")
    leases.short = {1}
    await cache.yield_contended()
    assert cache.get_cached((ANN,), "vllm", "small") is None
    await cache.get((ANN,), "vllm", "small")
    assert leases.asked == [ANN, ANN]


async def test_callers_who_make_up_names_of_models_fill_no_memory(cache: AccountCache) -> None:
    for number in range(2 * LOOKS_REMEMBERED + 1):
        await cache.get((ANN, BOB), "vllm", f"model-{number}")
    assert len(cache._looks) <= LOOKS_REMEMBERED


async def test_a_store_that_fails_is_asked_again(cache: AccountCache, leases: Leases) -> None:
    leases.answer = OSError("away")
    with pytest.raises(OSError, match="away"):
        await cache.get((ANN,), "vllm", "small")
    leases.answer = [lease()]
    assert await cache.get((ANN,), "vllm", "small")


async def test_what_nobody_uses_is_given_back_and_forgotten(
    cache: AccountCache, leases: Leases, clock: Timer
) -> None:
    """Not while a request holds some of it."""
    leases.answer = [lease(valid_until=float("inf"))]
    [account] = await cache.get((ANN,), "vllm", "small")
    account.held = 1
    clock.now += IDLE_FOR_S + 1
    await cache.close_idle()
    assert leases.closed == []
    account.held = 0
    await cache.close_idle()
    assert leases.closed == [[1]]
    assert list(cache.accounts()) == []


async def test_a_worker_that_started_over_has_nothing_but_what_runs() -> None:
    known = CachedAccount(ANN)
    known.update([lease(granted=100)], "old")
    [account] = known.accounts.values()
    account.held, account.spent = 20, 30
    known.rename("new")
    assert (account.holder, account.granted, account.spent, account.held) == ("new", 0, 0, 20)


async def test_a_quota_that_is_gone_is_not_in_force() -> None:
    known = CachedAccount(ANN)
    known.update([lease(), lease(quota_id=2)], "me")
    known.update([lease()], "me")
    assert [account.in_force for account in known.accounts.values()] == [True, False]
