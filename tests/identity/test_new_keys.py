"""What a new key may be: its scope and limits, what it gets from the key that made it, and whose it is."""

import pytest
import sqlalchemy as sa
from stores import Clock

from llmgate.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from llmgate.identity import Identity, User
from llmgate.ledger import Allotment, Quotas, Subject, Unit, Window
from llmgate.store import Store
from llmgate.store.schema import api_keys


@pytest.fixture
async def ann(identity: Identity) -> User:
    return await identity.users.register("ann", None)


async def test_scope_and_rate_are_the_principals(identity: Identity, ann: User) -> None:
    key, secret = await identity.keys.create(ann.id, "app", scope="models", requests_per_minute=60)
    principal = await identity.keys.verify(secret)
    assert (principal.scope, principal.requests_per_minute) == ("models", 60)
    assert (key.scope, key.requests_per_minute) == ("models", 60)
    await identity.keys.set_requests_per_minute(key.id, None)
    assert (await identity.keys.verify(secret)).requests_per_minute is None, "at once"


@pytest.mark.parametrize(
    "bad",
    [
        {"scope": "everything"},
        {"requests_per_minute": -1},
        {"requests_per_minute": 10**10},
        {"expires_at": 253_402_300_800.0},  # the year 10000, which no list of keys could show
    ],
)
async def test_what_no_key_can_be(identity: Identity, ann: User, bad: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        await identity.keys.create(ann.id, "app", **bad)  # type: ignore[arg-type]


async def test_what_a_key_must_have_is_there_before_it_is_shown_or_the_key_is_not(
    identity: Identity, ann: User, store: Store
) -> None:
    """A daily limit, say: no request can slip in before it is set."""
    quotas = Quotas(store)

    async def limit(conn: object, key: object, secret: str) -> None:
        subject = Subject("key", key.id)  # type: ignore[attr-defined]
        await quotas.give(conn, subject, Allotment(Unit.REQUESTS, 5, Window.DAY))  # type: ignore[arg-type]
        if secret.startswith("bad"):
            raise RuntimeError

    key, _ = await identity.keys.create(ann.id, "app", also=limit)
    (balance,) = await quotas.of(Subject("key", key.id))
    assert balance.remaining == 5
    with pytest.raises(RuntimeError):
        await identity.keys.create(ann.id, "app", prefix="bad", also=limit)
    assert [each.id for each in await identity.keys.of_user(ann.id)] == [key.id]


async def test_an_end_can_be_moved_and_holds_at_once(identity: Identity, ann: User, clock: Clock) -> None:
    """Later, earlier, to now, and away."""
    key, secret = await identity.keys.create(ann.id, "app", expires_at=clock.now + 10)
    await identity.keys.verify(secret)
    await identity.keys.set_expiry(key.id, clock.now)
    with pytest.raises(Unauthenticated) as ended:
        await identity.keys.verify(secret)
    assert not ended.value.foreign
    assert (await identity.keys.set_expiry(key.id, clock.now + 60)).expires_at == clock.now + 60
    await identity.keys.verify(secret)
    clock.pass_by(60)
    with pytest.raises(Unauthenticated):
        await identity.keys.verify(secret)
    await identity.keys.set_expiry(key.id, None)
    await identity.keys.verify(secret)
    await identity.keys.revoke(key.id)
    with pytest.raises(NotFound):
        await identity.keys.set_expiry(key.id, None)
    with pytest.raises(BadRequest):
        await identity.keys.set_expiry(key.id, float("inf"))


async def test_an_unknown_key_is_foreign_and_one_that_has_ended_is_not(identity: Identity, ann: User) -> None:
    key, secret = await identity.keys.create(ann.id, "app")
    await identity.keys.revoke(key.id)
    for _ in range(2):  # looked up, and remembered
        for presented, foreign in ((secret, False), ("sk-ant-api03-other", True), ("x" * 1000, True)):
            with pytest.raises(Unauthenticated) as caught:
                await identity.keys.verify(presented)
            assert caught.value.foreign is foreign


async def test_keys_change_together_or_not_at_all(
    identity: Identity, ann: User, store: Store, clock: Clock
) -> None:
    """Within a transaction of the caller's, as when a plan changes for all keys of a team."""
    keys, (one, two) = identity.keys, [(await identity.keys.create(ann.id, name))[0] for name in "ab"]
    with pytest.raises(RuntimeError):
        async with store.change() as db:
            await keys.set_expiry(one.id, clock.now + 5, db=db)
            await keys.set_requests_per_minute(one.id, 5, db=db)
            await keys.revoke(two.id, db=db)
            await Quotas(store).replace(Subject("key", one.id), Allotment(Unit.TOKENS, 5), db=db)
            raise RuntimeError
    assert await keys.of_user(ann.id) == [one, two]
    assert await Quotas(store).of(Subject("key", one.id)) == []


# --- made by another key


async def test_a_key_ends_with_the_one_that_made_it(identity: Identity, ann: User, clock: Clock) -> None:
    _, secret = await identity.keys.create(ann.id, "maker", expires_at=clock.now + 100)
    maker = await identity.keys.verify(secret)
    for asked, expires in ((None, 100), (500, 100), (50, 50)):
        at = None if asked is None else clock.now + asked
        key, _ = await identity.keys.create(ann.id, "made", expires_at=at, maker=maker)
        assert key.expires_at == clock.now + expires


async def test_a_key_makes_none_that_may_more_than_itself(
    identity: Identity, ann: User, store: Store
) -> None:
    """Nor one that would spend beside it what it is held to; a session may."""
    held, secret = await identity.keys.create(ann.id, "held")
    await Quotas(store).set(Subject("key", held.id), Allotment(Unit.TOKENS, 5))
    makers = [await identity.keys.verify(secret)]
    for limit in ({"scope": "account"}, {"requests_per_minute": 5}):
        _, secret = await identity.keys.create(ann.id, "maker", **limit)  # type: ignore[arg-type]
        makers.append(await identity.keys.verify(secret))
        await identity.keys.create(ann.id, "the same", **limit, maker=makers[-1])  # type: ignore[arg-type]
    for maker in makers:
        with pytest.raises(Forbidden):
            await identity.keys.create(ann.id, "more", maker=maker)
    session = await identity.sessions.verify((await identity.sessions.issue(ann)).token)
    await identity.keys.create(ann.id, "more", maker=session)


# --- of an organization itself


async def test_an_organizations_own_key_outlives_whoever_made_it(identity: Identity, ann: User) -> None:
    acme = await identity.organizations.create("acme")
    await identity.organizations.add_member(acme.id, ann.id)
    first, secret = await identity.keys.create_for_organization(acme.id, "billing", scope="models")
    second, _ = await identity.keys.create_for_organization(acme.id, "search")
    assert first.user_id == second.user_id != ann.id
    await identity.users.retire(ann.id)
    principal = await identity.keys.verify(secret)
    assert (principal.organization_id, principal.user_id, principal.roles) == (
        acme.id,
        first.user_id,
        frozenset(),
    )
    assert [key.name for key in await identity.keys.of_organization(acme.id)] == ["billing", "search"]
    await identity.organizations.set_active(acme.id, active=False)
    with pytest.raises(Unauthenticated):
        await identity.keys.verify(secret)


async def test_nobody_sees_or_becomes_the_user_behind_it(identity: Identity, store: Store) -> None:
    """It is in no list, cannot be changed or get a password, and does not make others any less the first."""
    acme = await identity.organizations.create("acme")
    key, _ = await identity.keys.create_for_organization(acme.id, "billing")
    assert await identity.users.search() == []
    assert await identity.organizations.members(acme.id) == []
    assert (await identity.users.register("ann", None, first_roles=["admin"])).is_admin
    for change in (
        identity.users.set_password(key.user_id, "long enough"),
        identity.users.set_active(key.user_id, active=False),
        identity.users.set_email(key.user_id, "a@b.example"),
        identity.users.grant(key.user_id, "admin"),
        identity.users.retire(key.user_id),
    ):
        with pytest.raises(NotFound):
            await change


async def test_a_retired_organization_has_no_keys(identity: Identity, ann: User, store: Store) -> None:
    """Its name is free again, and the new one has nothing of the old."""
    acme = await identity.organizations.create("acme")
    await identity.organizations.add_member(acme.id, ann.id)
    _, own = await identity.keys.create_for_organization(acme.id, "billing")
    _, members = await identity.keys.create(ann.id, "mine", organization_id=acme.id)
    _, private = await identity.keys.create(ann.id, "private")
    await identity.organizations.retire(acme.id)
    for secret in (own, members):
        with pytest.raises(Unauthenticated):
            await identity.keys.verify(secret)
    await identity.keys.verify(private)
    again = await identity.organizations.create("acme")
    assert [each.id for each in await identity.organizations.all()] == [again.id]
    assert await identity.organizations.of_user(ann.id) == []
    for gone in (
        identity.organizations.retire(acme.id),
        identity.organizations.add_member(acme.id, ann.id),
        identity.organizations.set_active(acme.id, active=True),
        identity.keys.create_for_organization(acme.id, "more"),
    ):
        with pytest.raises(NotFound):
            await gone
    async with store.connect() as db:
        ended = sa.select(sa.func.count()).where(api_keys.c.revoked_at.is_not(None))
        assert await db.scalar(ended) == 2
