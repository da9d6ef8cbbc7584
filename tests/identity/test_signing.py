"""The keys that sessions are signed with."""

import asyncio
from itertools import count

import pytest
from stores import Clock, counting

from llmgate.identity.signing import SigningKeys
from llmgate.store import Store


def keys_on(store: Store, algorithm: str = "HS256", start: int = 1) -> SigningKeys:
    return SigningKeys(store, algorithm, count(start).__next__)  # type: ignore[arg-type]


@pytest.mark.parametrize(("algorithm", "has_public"), [("HS256", False), ("RS256", True)])
async def test_a_key_is_made_when_it_is_first_needed_and_kept(
    store: Store, algorithm: str, has_public: bool
) -> None:
    keys = keys_on(store, algorithm)
    assert await keys.all() == {}
    key = await keys.current()
    assert await keys.current() == key
    assert (key.algorithm, key.public is not None) == (algorithm, has_public)
    assert key.verifying == (key.public if has_public else key.private)
    assert key.private not in repr(key)


async def test_two_processes_that_need_one_at_once_have_the_same(store: Store) -> None:
    made = await asyncio.gather(keys_on(store, start=1).current(), keys_on(store, start=100).current())
    assert made[0] == made[1]
    assert len(await keys_on(store).all()) == 1


async def test_after_a_rotation_the_new_one_signs_and_the_old_verifies_for_a_while(
    store: Store, clock: Clock
) -> None:
    keys = keys_on(store)
    old = await keys.current()
    await keys.rotate(keep=100)
    new = await keys.current()
    assert new.kid != old.kid
    assert await keys.verifying(old.kid) is not None
    clock.pass_by(100)
    assert await keys.verifying(old.kid) is None
    assert await keys.verifying(new.kid) == new
    await keys.rotate(keep=100)
    assert old.kid not in await keys.all(), "what verifies no more is deleted with the next rotation"


async def test_a_key_of_another_process_is_known_at_once(store: Store) -> None:
    here, there = keys_on(store), keys_on(store, start=100)
    await here.all()
    made = await there.current()
    assert await here.verifying(made.kid) == made


async def test_verifying_costs_no_query_while_nothing_changes(store: Store) -> None:
    keys = keys_on(store)
    key = await keys.current()
    await keys.verifying(key.kid)
    async with counting(store) as statements:
        assert await keys.verifying(key.kid) == key
        assert await keys.verifying("unknown") is None
    assert statements == []


async def test_another_algorithm_has_a_key_of_its_own_and_the_others_verify_on(store: Store) -> None:
    old = await keys_on(store).current()
    keys = keys_on(store, "RS256", start=100)
    assert (await keys.current()).kid != old.kid
    assert await keys.verifying(old.kid) == old
