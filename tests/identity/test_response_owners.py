"""Whose a stored response is."""

import sqlalchemy as sa
from stores import Clock

from llmgate.exchange import Principal
from llmgate.identity.response_owners import KEPT_FOR_S, ResponseOwners, tenant_of
from llmgate.store import Store
from llmgate.store.schema import response_owners


async def test_it_is_its_tenants_in_every_worker_and_nobody_elses(store: Store) -> None:
    await ResponseOwners(store).remember("resp_1", "user:1")
    other_worker = ResponseOwners(store)
    assert await other_worker.is_of("resp_1", "user:1")
    assert not await other_worker.is_of("resp_1", "user:2")
    assert not await other_worker.is_of("resp_2", "user:1")


async def test_who_had_an_id_first_keeps_it(store: Store) -> None:
    owners = ResponseOwners(store)
    await owners.remember("resp_1", "user:1")
    await owners.remember("resp_1", "user:2")
    assert await owners.is_of("resp_1", "user:1")


async def test_they_are_forgotten_with_age(store: Store, clock: Clock) -> None:
    owners = ResponseOwners(store, sweep_every=1)
    await owners.remember("resp_1", "user:1")
    clock.pass_by(KEPT_FOR_S + 1)
    assert not await owners.is_of("resp_1", "user:1")
    await owners.remember("resp_2", "user:1")
    async with store.connect() as db:
        assert list(await db.scalars(sa.select(response_owners.c.id))) == ["resp_2"]


async def test_they_are_bounded_and_the_oldest_go(store: Store, clock: Clock) -> None:
    owners = ResponseOwners(store, max_kept=3, sweep_every=1)
    for number in range(10):
        clock.pass_by(1)
        await owners.remember(f"resp_{number}", "user:1")
    async with store.connect() as db:
        kept = set(await db.scalars(sa.select(response_owners.c.id)))
    assert kept == {"resp_7", "resp_8", "resp_9"}


def test_members_of_an_organization_share_what_its_keys_made() -> None:
    assert tenant_of(Principal(5, "ann", organization_id=3)) == "organization:3"
    assert tenant_of(Principal(5, "ann")) == "user:5"
    assert tenant_of(None) == "-"
