"""The memory of credentials: bounded, forgotten at every change, and never older than what it was told."""

import pytest
from stores import Clock

from llmgate.exchange import Principal
from llmgate.identity.credential_cache import RECHECK_S, CredentialCache, digest
from llmgate.store import Store

ANN = Principal(1, "ann")
KEY = digest("secret")


@pytest.fixture
async def cache(store: Store) -> CredentialCache:
    return CredentialCache(store, 3)


async def test_a_principal_is_remembered_until_its_credential_ends(
    cache: CredentialCache, clock: Clock
) -> None:
    cache.keep(KEY, ANN, clock.now + 10, cache.stamp())
    assert cache.get(KEY) == ANN
    clock.pass_by(10)
    assert cache.get(KEY) is None


async def test_without_an_end_it_is_looked_up_again_now_and_then(
    cache: CredentialCache, clock: Clock
) -> None:
    cache.keep(KEY, ANN, None, cache.stamp())
    clock.pass_by(RECHECK_S - 1)
    assert cache.get(KEY) == ANN
    clock.pass_by(1)
    assert cache.get(KEY) is None


async def test_a_change_forgets_good_and_bad(cache: CredentialCache, store: Store) -> None:
    cache.keep(KEY, ANN, None, cache.stamp())
    cache.keep_bad(digest("bad"), cache.stamp(), foreign=True)
    store.changes.bump()
    assert cache.get(KEY) is None
    assert cache.bad(digest("bad")) is None


async def test_what_was_looked_up_before_a_change_is_not_remembered_after_it(
    cache: CredentialCache, store: Store
) -> None:
    """It may be what the change has ended."""
    stamp = cache.stamp()
    store.changes.bump()
    cache.keep(KEY, ANN, None, stamp)
    cache.keep_bad(digest("bad"), stamp, foreign=False)
    assert cache.get(KEY) is None
    assert cache.bad(digest("bad")) is None


async def test_bad_ones_are_remembered_with_whether_they_ever_were_good(cache: CredentialCache) -> None:
    cache.keep_bad(digest("foreign"), cache.stamp(), foreign=True)
    cache.keep_bad(digest("ended"), cache.stamp(), foreign=False)
    assert (cache.bad(digest("foreign")), cache.bad(digest("ended")), cache.bad(KEY)) == (True, False, None)


async def test_a_flood_of_bad_ones_pushes_out_no_good_one(cache: CredentialCache) -> None:
    cache.keep(KEY, ANN, None, cache.stamp())
    for number in range(100):
        cache.keep_bad(digest(str(number)), cache.stamp(), foreign=True)
    assert cache.get(KEY) == ANN
    assert cache.bad(digest("0")) is None
    assert cache.bad(digest("99"))


async def test_of_good_ones_the_latest_used_stay(cache: CredentialCache) -> None:
    for name in ("a", "b", "c"):
        cache.keep(digest(name), ANN, None, cache.stamp())
    cache.get(digest("a"))
    cache.keep(digest("d"), ANN, None, cache.stamp())
    assert [cache.get(digest(name)) is not None for name in "abcd"] == [True, False, True, True]
