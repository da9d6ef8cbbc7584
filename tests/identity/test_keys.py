"""API keys: who they stand for, and that they stop at once."""

import asyncio
from typing import Any

import pytest
from stores import Clock, counting

from llmgate.errors import BadRequest, NotFound, StoreError, Unauthenticated
from llmgate.exchange import Principal
from llmgate.identity import Identity, Key, Keys, User
from llmgate.store import Store
from llmgate.store.schema import api_keys


@pytest.fixture
async def ann(identity: Identity) -> User:
    return await identity.users.register("ann", "secret-1", roles=["reader", "admin"])


async def refused(keys: Keys, secret: str) -> bool:
    with pytest.raises(Unauthenticated):
        await keys.verify(secret)
    return keys.cached(secret) is None


async def test_a_key_stands_for_its_user(identity: Identity, ann: User) -> None:
    key, secret = await identity.keys.create(ann.id, "laptop")
    principal = await identity.keys.verify(secret)
    assert principal == Principal(ann.id, "ann", frozenset({"reader", "admin"}), key_id=key.id)


async def test_a_key_is_shown_once_and_only_its_hash_is_stored(
    identity: Identity, ann: User, store: Store
) -> None:
    key, secret = await identity.keys.create(ann.id, "laptop", prefix="bku_")
    assert secret.startswith("bku_") and len(secret) == 4 + 64
    assert key.masked == f"bku_...{secret[-4:]}"
    async with store.connect() as conn:
        stored = (await conn.execute(api_keys.select())).one()
    assert secret not in repr(stored) and secret[4:] not in repr(stored)
    assert secret[4:] not in repr(vars(identity.keys))


async def test_what_a_surface_prefixes_is_part_of_the_key(identity: Identity, ann: User) -> None:
    _, secret = await identity.keys.create(ann.id, "laptop", prefix=f"leaky_{ann.uuid}_")
    assert (await identity.keys.verify(secret)).user_id == ann.id
    assert await refused(identity.keys, secret.removeprefix("leaky_"))


async def test_a_verified_key_costs_no_query_and_an_unknown_one_costs_one(
    identity: Identity, ann: User, store: Store
) -> None:
    _, secret = await identity.keys.create(ann.id, "laptop")
    assert identity.keys.cached(secret) is None, "nothing is known of it yet"
    principal = await identity.keys.verify(secret)
    async with counting(store) as statements:
        assert identity.keys.cached(secret) is principal
        assert await identity.keys.verify(secret) is principal
        assert statements == []
        for _ in range(3):
            assert await refused(identity.keys, "llmgate_" + "0" * 64)
        assert len(statements) == 1


async def test_a_flood_of_bad_keys_fills_no_memory_and_pushes_out_no_good_one(
    store: Store, identity: Identity, ann: User
) -> None:
    keys = Keys(store, remembered=10)
    _, secret = await keys.create(ann.id, "laptop")
    await keys.verify(secret)
    for n in range(50):
        assert await refused(keys, f"guess {n}")
    assert keys.cached(secret) is not None
    assert len(keys._credential_cache._bad) == 10


async def test_of_many_good_keys_the_latest_used_are_remembered(store: Store, ann: User) -> None:
    keys = Keys(store, remembered=2)
    first, second, third = [(await keys.create(ann.id, str(n)))[1] for n in range(3)]
    await keys.verify(first)
    await keys.verify(second)
    assert keys.cached(first)
    await keys.verify(third)
    assert keys.cached(first) and keys.cached(third) and not keys.cached(second)
    assert await keys.verify(second), "a forgotten key is only slower"


async def test_a_revoked_key_stops_at_once_and_for_good(identity: Identity, ann: User, clock: Clock) -> None:
    key, secret = await identity.keys.create(ann.id, "laptop")
    await identity.keys.verify(secret)
    revoked = await identity.keys.revoke(key.id)
    assert revoked.revoked_at == clock.now
    assert identity.keys.cached(secret) is None
    assert await refused(identity.keys, secret)
    clock.pass_by(10)
    assert await identity.keys.revoke(key.id) == revoked, "the first time stands"


async def test_a_key_revoked_by_another_process_stops_here_at_once(
    sqlite_url: str, identity: Identity, ann: User, clock: Clock
) -> None:
    """Two stores on one file are to each other what two processes are."""
    async with Store.open(sqlite_url, clock=clock) as here, Store.open(sqlite_url, clock=clock) as there:
        from .conftest import services

        gate, command_line = services(here), services(there)
        user = await gate.users.register("bob", None)
        key, secret = await gate.keys.create(user.id, "laptop")
        await gate.keys.verify(secret)
        await command_line.keys.revoke(key.id)
        assert gate.keys.cached(secret) is None
        assert await refused(gate.keys, secret)


async def test_a_key_revoked_while_it_is_looked_up_is_not_remembered(
    identity: Identity, ann: User, store: Store
) -> None:
    """The lookup may have read the row as it was before."""
    key, secret = await identity.keys.create(ann.id, "laptop")
    asked, answer = asyncio.Event(), asyncio.Event()
    connect = store.connect

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def connect(self) -> object:
            from contextlib import asynccontextmanager

            @asynccontextmanager
            async def slow() -> object:  # type: ignore[misc]
                async with connect() as conn:
                    yield conn
                    asked.set()
                    await answer.wait()

            return slow()

    keys = Keys(Slow())  # type: ignore[arg-type]
    looking = asyncio.create_task(keys.verify(secret))
    await asked.wait()
    await identity.keys.revoke(key.id)
    answer.set()
    await looking
    assert keys.cached(secret) is None


async def test_an_expired_key_stops_although_it_is_remembered(
    identity: Identity, ann: User, clock: Clock
) -> None:
    _, secret = await identity.keys.create(ann.id, "laptop", expires_at=clock.now + 10)
    await identity.keys.verify(secret)
    clock.pass_by(9.9)
    assert identity.keys.cached(secret)
    clock.pass_by(0.1)
    assert identity.keys.cached(secret) is None
    assert await refused(identity.keys, secret)


async def test_what_is_remembered_is_looked_up_again_after_a_minute(
    identity: Identity, ann: User, clock: Clock, store: Store
) -> None:
    """Whoever revoked the key may have died before saying so."""
    _, secret = await identity.keys.create(ann.id, "laptop")
    await identity.keys.verify(secret)
    async with store.begin() as conn:
        await conn.execute(api_keys.update().values(revoked_at=1.0))
    assert identity.keys.cached(secret)
    clock.pass_by(60)
    assert await refused(identity.keys, secret)


async def test_a_key_stops_with_its_user_and_comes_back_with_it(identity: Identity, ann: User) -> None:
    _, secret = await identity.keys.create(ann.id, "laptop")
    await identity.keys.verify(secret)
    await identity.users.set_active(ann.id, False)
    assert await refused(identity.keys, secret)
    await identity.users.set_active(ann.id, True)
    assert await identity.keys.verify(secret)


async def test_a_role_that_is_taken_away_is_gone_from_the_key_at_once(identity: Identity, ann: User) -> None:
    _, secret = await identity.keys.create(ann.id, "laptop")
    assert "admin" in (await identity.keys.verify(secret)).roles
    await identity.users.revoke(ann.id, "admin")
    assert (await identity.keys.verify(secret)).roles == {"reader"}


async def test_an_organizations_key_lasts_as_long_as_the_membership(identity: Identity, ann: User) -> None:
    acme = await identity.organizations.create("acme")
    with pytest.raises(NotFound):
        await identity.keys.create(ann.id, "laptop", organization_id=acme.id)
    await identity.organizations.add_member(acme.id, ann.id)
    _, secret = await identity.keys.create(ann.id, "laptop", organization_id=acme.id)
    assert (await identity.keys.verify(secret)).organization_id == acme.id
    await identity.organizations.remove_member(acme.id, ann.id)
    assert await refused(identity.keys, secret)
    await identity.organizations.add_member(acme.id, ann.id)
    await identity.organizations.set_active(acme.id, False)
    assert await refused(identity.keys, secret)


async def test_keys_are_listed_until_they_are_revoked(identity: Identity, ann: User) -> None:
    acme = await identity.organizations.create("acme")
    await identity.organizations.add_member(acme.id, ann.id)
    own, _ = await identity.keys.create(ann.id, "own")
    shared, _ = await identity.keys.create(ann.id, "shared", organization_id=acme.id)
    assert await identity.keys.of_user(ann.id) == [own, shared]
    assert await identity.keys.of_organization(acme.id) == [shared]
    assert await identity.keys.by_id(own.id) == await identity.keys.by_uuid(own.uuid) == own
    await identity.keys.revoke(own.id)
    assert await identity.keys.of_user(ann.id) == [shared]
    assert (await identity.keys.by_id(own.id)).revoked_at is not None


async def test_uses_are_counted_together_and_written_when_flushed(
    identity: Identity, ann: User, clock: Clock, store: Store
) -> None:
    key, _ = await identity.keys.create(ann.id, "laptop")
    stamp = store.changes.current()
    for _ in range(5):
        identity.keys.touch(key.id)
    assert (await identity.keys.by_id(key.id)).uses == 0
    await identity.keys.flush()
    await identity.keys.flush()
    used: Key = await identity.keys.by_id(key.id)
    assert (used.uses, used.last_used_at) == (5, clock.now)
    assert store.changes.current() == stamp, "nobody has to forget anything over it"


async def test_uses_that_could_not_be_written_are_written_later(
    identity: Identity, ann: User, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await identity.keys.create(ann.id, "laptop")

    def away() -> None:
        raise StoreError("away")

    identity.keys.touch(key.id)
    with monkeypatch.context() as broken:
        broken.setattr(store, "begin", away)
        with pytest.raises(StoreError):
            await identity.keys.flush()
    identity.keys.touch(key.id)
    await identity.keys.flush()
    assert (await identity.keys.by_id(key.id)).uses == 2


async def test_anything_may_be_presented_as_a_key(identity: Identity) -> None:
    for secret in ("", "x", "llmgate_", "\0", "\ud800", "é" * 100, "x" * 10_000_000, "' OR 1=1 --"):
        assert await refused(identity.keys, secret), secret[:50]


async def test_a_key_that_could_not_be_used_is_not_made(identity: Identity, ann: User) -> None:
    bad: list[dict[str, Any]] = [
        {"name": ""},
        {"name": "a\nb"},
        {"prefix": "with space "},
        {"prefix": "x" * 65},
        {"prefix": "line\n"},
        {"expires_at": 0.0},
        {"expires_at": float("nan")},
        {"expires_at": float("inf")},
    ]
    for settings in bad:
        with pytest.raises(BadRequest):
            await identity.keys.create(ann.id, **{"name": "laptop", **settings})
    assert await identity.keys.of_user(ann.id) == []


async def test_what_is_asked_of_no_key_is_not_found(identity: Identity) -> None:
    for attempt in (
        identity.keys.create(99, "laptop"),
        identity.keys.revoke(99),
        identity.keys.by_id(99),
        identity.keys.by_uuid("x"),
    ):
        with pytest.raises(NotFound):
            await attempt
