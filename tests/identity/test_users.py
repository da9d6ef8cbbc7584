"""Users: what they may be called, how they prove who they are, what ends their access."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Clock, counting

from llmgate.errors import BadRequest, Conflict, NotFound, RateLimited, Unauthenticated
from llmgate.identity import ADMIN, Identity, PasswordRules, Passwords, Users
from llmgate.identity.login_limits import OF_ACCOUNT
from llmgate.store import Store
from llmgate.store.schema import usage, users

from .conftest import CHEAP

PASSWORD = "secret-1"
OURS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def test_a_registered_user_is_found_by_every_name_it_has(identity: Identity, clock: Clock) -> None:
    ann = await identity.users.register("ann", "secret-1", email="Ann@Example.org", roles=["admin", "x"])
    assert (ann.username, ann.email, ann.roles) == ("ann", "ann@example.org", {"admin", "x"})
    assert ann.is_active and ann.is_admin and ann.created_at == clock.now
    assert await identity.users.by_id(ann.id) == ann
    assert await identity.users.by_uuid(ann.uuid) == ann
    assert await identity.users.by_username("ann") == ann
    assert await identity.users.by_email("ANN@example.ORG") == ann


async def test_what_a_user_must_have_is_written_with_the_user_or_not_at_all(identity: Identity) -> None:
    """`also` is part of the registration: if it fails, the name is still free."""
    seen = []

    async def fail(conn: object, user_id: int) -> None:
        raise RuntimeError

    async def note(conn: object, user_id: int) -> None:
        seen.append(user_id)

    with pytest.raises(RuntimeError):
        await identity.users.register("ann", "secret-1", roles=["staff"], also=fail)
    with pytest.raises(NotFound):
        await identity.users.by_username("ann")
    ann = await identity.users.register("ann", "secret-1", also=note)
    with pytest.raises(Conflict):
        await identity.users.register("ann", "secret-1", also=note)
    assert seen == [ann.id]


async def test_a_user_signs_in_by_name_or_address_in_any_case(identity: Identity) -> None:
    ann = await identity.users.register("ann", "secret-1", email="ann@example.org")
    assert await identity.users.authenticate("ann", "secret-1") == ann
    assert await identity.users.authenticate("ANN@example.org", "secret-1") == ann


async def test_guesses_that_come_at_once_have_no_more_tries(store: Store) -> None:
    """Of all that wait for their turn together, in all workers, those that come after the last free one are refused."""
    workers = [Users(store, Passwords(hasher=CHEAP, at_once=1)) for _ in range(2)]
    await workers[0].register("ann", "secret-1")

    async def guess(number: int) -> type[Exception]:
        try:
            await workers[number % 2].authenticate("ann", "wrong", client=f"203.0.113.{number % 30}")
        except (Unauthenticated, RateLimited) as error:
            return type(error)
        raise AssertionError

    ends = await asyncio.gather(*map(guess, range(60)))
    assert ends.count(Unauthenticated) <= OF_ACCOUNT.free + len(workers)
    assert ends.count(RateLimited) == 60 - ends.count(Unauthenticated)


async def test_names_that_look_alike_are_one(identity: Identity) -> None:
    ann = await identity.users.register("Ann", "secret-1")
    assert ann.username == "ann"
    for spelling in ("ann", "ANN", "\uff21\uff2e\uff2e"):
        assert await identity.users.authenticate(spelling, "secret-1") == ann
        assert await identity.users.by_username(spelling) == ann
        with pytest.raises(Conflict):
            await identity.users.register(spelling, "secret-2")


async def test_of_two_that_were_there_before_names_had_rules_the_exact_one_is_meant(
    identity: Identity, store: Store
) -> None:
    small = await identity.users.register("ann", "secret-1")
    large = await identity.users.register("bob", "secret-2")
    async with store.begin() as db:
        await db.execute(users.update().where(users.c.id == large.id).values(username="Ann"))
    assert (await identity.users.authenticate("Ann", "secret-2")).id == large.id
    assert (await identity.users.authenticate("ann", "secret-1")).id == small.id
    assert (await identity.users.authenticate("ANN", "secret-1")).id == small.id


BAD_LOGINS = [
    ("ann", "secret-2"),
    ("ann", ""),
    ("ann", "secret-1\0"),
    ("ann", "secret-1" + "x" * 1_000_000),
    ("ann", "\ud800"),
    ("\u0430nn", "secret-1"),
    ("nobody", "secret-1"),
    ("nobody@example.org", "secret-1"),
    ("", "secret-1"),
    ("ann\0", "secret-1"),
    ("\ud800", "secret-1"),
    ("x" * 1_000_000, "secret-1"),
    ("' OR 1=1 --", "secret-1"),
    ("%", "secret-1"),
]


async def test_every_bad_login_is_refused_in_the_same_words(identity: Identity) -> None:
    await identity.users.register("ann", "secret-1")
    for login, password in BAD_LOGINS:
        with pytest.raises(Unauthenticated, match=r"^Incorrect username or password$"):
            await identity.users.authenticate(login, password)


async def test_a_login_costs_one_hash_whoever_it_is(store: Store) -> None:
    """The time of the answer must not tell who exists, nor who has no password."""
    hashes: list[str] = []

    class Counted(type(CHEAP)):  # type: ignore[misc]
        def hash(self, *args: Any, **options: Any) -> str:
            hashes.append("hash")
            return str(super().hash(*args, **options))

        def verify(self, *args: Any) -> bool:
            hashes.append("verify")
            return bool(super().verify(*args))

    hasher = Counted(time_cost=1, memory_cost=8, parallelism=1)
    services = Users(store, Passwords(hasher=hasher))
    await services.register("ann", "secret-1")
    await services.register("bot", None)
    for login in ("ann", "bot", "nobody", "\0"):
        hashes.clear()
        with pytest.raises(Unauthenticated):
            await services.authenticate(login, "wrong")
        assert len(hashes) == 1, login


async def test_a_user_without_a_password_cannot_sign_in_with_any(identity: Identity) -> None:
    await identity.users.register("bot", None)
    for guess in ("", "None", "null"):
        with pytest.raises(Unauthenticated):
            await identity.users.authenticate("bot", guess)


async def test_a_name_or_address_that_is_taken_is_a_conflict_that_says_which(identity: Identity) -> None:
    await identity.users.register("ann", "secret-1", email="ann@example.org")
    with pytest.raises(Conflict, match="username is taken"):
        await identity.users.register("ann", "secret-1")
    with pytest.raises(Conflict, match="email is taken"):
        await identity.users.register("bob", "secret-1", email="ANN@EXAMPLE.ORG")
    assert [user.username for user in await identity.users.search()] == ["ann"]


async def test_equal_looking_names_are_one_name(identity: Identity) -> None:
    await identity.users.register("Zoe\u0301", "secret-1")
    with pytest.raises(Conflict):
        await identity.users.register("Zo\u00e9", "secret-1")
    assert await identity.users.authenticate("Zo\u00e9", "secret-1")


async def test_nobody_takes_the_address_of_another_for_a_name(identity: Identity) -> None:
    await identity.users.register("ann", "secret-1", email="ann@example.org")
    with pytest.raises(Conflict):
        await identity.users.register("ann@example.org", "secret-2")
    with pytest.raises(BadRequest, match="own e-mail address"):
        await identity.users.register("bob@example.org", "secret-2", email="bob@example.com")
    bob = await identity.users.register("Bob@example.org", "secret-2")
    assert bob.email == "bob@example.org"
    assert await identity.users.authenticate("bob@example.org", "secret-2") == bob


async def test_a_new_password_holds_at_once_and_the_old_one_no_more(identity: Identity) -> None:
    ann = await identity.users.register("ann", "secret-1")
    await identity.users.set_password(ann.id, "secret-2")
    assert await identity.users.authenticate("ann", "secret-2")
    with pytest.raises(Unauthenticated):
        await identity.users.authenticate("ann", "secret-1")


async def test_a_deactivated_user_cannot_sign_in_until_active_again(identity: Identity) -> None:
    ann = await identity.users.register("ann", "secret-1")
    await identity.users.set_active(ann.id, False)
    with pytest.raises(Unauthenticated):
        await identity.users.authenticate("ann", "secret-1")
    await identity.users.set_active(ann.id, True)
    assert (await identity.users.authenticate("ann", "secret-1")).is_active


async def test_a_hash_with_old_parameters_is_replaced_at_the_next_login(store: Store) -> None:
    old = Users(store, Passwords(hasher=CHEAP))
    await old.register("ann", "secret-1")
    dearer = type(CHEAP)(time_cost=2, memory_cost=8, parallelism=1)
    new = Users(store, Passwords(PasswordRules(min_length=50), hasher=dearer))
    await new.authenticate("ann", "secret-1")
    async with store.connect() as conn:
        stored = (await conn.execute(users.select())).one().password_hash
    assert not dearer.check_needs_rehash(stored)
    assert await new.authenticate("ann", "secret-1"), "rules are for new passwords, not for old ones"


async def test_roles_are_granted_and_revoked_any_number_of_times(identity: Identity, clock: Clock) -> None:
    ann = await identity.users.register("ann", "secret-1")
    clock.pass_by(1)
    for _ in range(2):
        await identity.users.grant(ann.id, ADMIN)
    ann = await identity.users.by_id(ann.id)
    assert ann.is_admin and ann.updated_at == clock.now
    for _ in range(2):
        await identity.users.revoke(ann.id, ADMIN)
    assert not (await identity.users.by_id(ann.id)).is_admin


async def test_what_is_asked_of_nobody_is_not_found(identity: Identity) -> None:
    for user_id in (0, -1, 99):
        for attempt in (
            identity.users.by_id(user_id),
            identity.users.set_active(user_id, True),
            identity.users.set_password(user_id, "secret-1"),
            identity.users.grant(user_id, "admin"),
            identity.users.revoke(user_id, "admin"),
            identity.users.delete(user_id),
        ):
            with pytest.raises(NotFound):
                await attempt
    with pytest.raises(NotFound):
        await identity.users.by_uuid("")


async def test_a_page_of_users_has_bounds(identity: Identity) -> None:
    made = [await identity.users.register(f"user{n}", None) for n in range(5)]
    assert await identity.users.search(limit=2, offset=1) == made[1:3]
    for limit, offset in ((0, 0), (1001, 0), (-1, 0), (1, -1)):
        with pytest.raises(BadRequest):
            await identity.users.search(limit=limit, offset=offset)


async def test_a_page_of_users_costs_two_queries_however_long(identity: Identity, store: Store) -> None:
    for n in range(20):
        await identity.users.register(f"user{n}", None, roles=["a", "b"])
    async with counting(store) as statements:
        assert len(await identity.users.search()) == 20
    assert len(statements) == 2


async def test_a_deleted_user_is_gone_and_the_id_is_never_given_again(identity: Identity) -> None:
    """Or a newcomer would inherit the quotas and the records of somebody else."""
    ann = await identity.users.register("ann", "secret-1", roles=["admin"])
    key, _ = await identity.keys.create(ann.id, "laptop")
    await identity.users.delete(ann.id)
    again = await identity.users.register("ann", "secret-1")
    assert again.id > ann.id and again.uuid != ann.uuid and again.roles == frozenset()
    assert (await identity.keys.create(again.id, "laptop"))[0].id > key.id


async def test_a_user_with_recorded_usage_can_only_be_deactivated(identity: Identity, store: Store) -> None:
    ann = await identity.users.register("ann", "secret-1")
    numbers = (
        "at",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cost",
        "status",
        "duration",
    )
    words = ("request_id", "route", "upstream", "model", "endpoint", "certainty", "outcome")
    async with store.begin() as conn:
        row = {**dict.fromkeys(numbers, 1), **dict.fromkeys(words, "x"), "user_id": ann.id}
        await conn.execute(usage.insert().values(row))
    with pytest.raises(Conflict, match="deactivated"):
        await identity.users.delete(ann.id)
    assert await identity.users.by_id(ann.id) == ann


# PostgreSQL's text holds no NUL and no encoding holds half a surrogate pair: these are refused, by the rule
# above. Everything else that is printable has to come back as it went in, whatever it means in SQL.
PRINTABLE = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Cn"]), min_size=1, max_size=40
)
HOSTILE = st.sampled_from(
    ["'; DROP TABLE users; --", "%", "_", "\\", "%s", ":id", "?", '"', "/* */", "я" * 255]
)


@OURS
@given(name=HOSTILE | PRINTABLE)
def test_any_printable_name_is_stored_and_found_again(on_store: Callable[..., None], name: str) -> None:
    async def scenario(identity: Identity) -> None:
        name_ = name.strip().replace("@", "a") or "x"
        await identity.users.register("bystander", None)
        try:
            user = await identity.users.register(name_, "secret-1")
        except BadRequest:  # no user may be called that, and nobody is
            with pytest.raises(Unauthenticated):
                await identity.users.authenticate(name_, "secret-1")
            return
        assert await identity.users.by_username(user.username) == user
        assert await identity.users.authenticate(name_, "secret-1") == user
        assert user in await identity.users.search(user.username)
        assert len(await identity.users.search()) == 2

    on_store(scenario)


@OURS
@given(text=HOSTILE.filter(lambda text: text.isascii()))
def test_a_search_takes_its_text_literally(on_store: Callable[..., None], text: str) -> None:
    async def scenario(identity: Identity) -> None:
        await identity.users.register("bystander", None)
        assert await identity.users.search(text) == []
        user = await identity.users.register(f"x{text}y", None)
        assert await identity.users.search(text) == [user]

    on_store(scenario)


# --- addresses, retirement, first passwords


async def test_an_address_changes_and_with_it_a_name_that_is_the_address(identity: Identity) -> None:
    """At once: who asks with a session is told the new name."""
    ann = await identity.users.register("ann@old.example", PASSWORD)
    bob = await identity.users.register("bob", PASSWORD, email="bob@old.example")
    token = (await identity.sessions.issue(ann)).token
    changed = await identity.users.set_email(ann.id, "Ann@New.example")
    assert (changed.username, changed.email) == ("ann@new.example", "ann@new.example")
    principal = await identity.sessions.verify(token)
    assert principal is not None
    assert principal.username == "ann@new.example"
    assert (await identity.users.set_email(bob.id, "bob@new.example")).username == "bob"
    assert (await identity.users.set_email(bob.id, None)).email is None
    assert await identity.users.authenticate("ann@new.example", PASSWORD) == changed
    with pytest.raises(Conflict):
        await identity.users.set_email(bob.id, "ann@new.example")
    with pytest.raises(BadRequest):
        await identity.users.set_email(ann.id, None)
    with pytest.raises(BadRequest):
        await identity.users.set_email(ann.id, "nobody")
    assert (await identity.users.set_email(ann.id, "ann@new.example")).email == "ann@new.example", "no change"
    await identity.users.set_email(bob.id, "ann@old.example")


async def test_a_retired_user_is_gone_but_for_the_records(identity: Identity, clock: Clock) -> None:
    """Keys, sessions, roles and memberships end for good; name and address are free for others."""
    ann = await identity.users.register("ann@a.example", PASSWORD, roles=["admin"])
    acme = await identity.organizations.create("acme")
    await identity.organizations.add_member(acme.id, ann.id)
    _, secret = await identity.keys.create(ann.id, "app")
    token = (await identity.sessions.issue(ann)).token
    await identity.users.retire(ann.id)
    with pytest.raises(Unauthenticated):
        await identity.keys.verify(secret)
    with pytest.raises(Unauthenticated):
        await identity.sessions.verify(token)
    with pytest.raises(Unauthenticated):
        await identity.users.authenticate("ann@a.example", PASSWORD)
    assert await identity.organizations.members(acme.id) == []
    left = await identity.users.by_id(ann.id)
    assert (left.email, left.is_active, left.roles, left.retired_at) == (None, False, frozenset(), clock.now)
    assert "ann" not in left.username
    again = await identity.users.register("ann@a.example", PASSWORD)
    assert again.id != ann.id
    assert [each.id for each in await identity.users.search()] == [again.id]
    for gone in (identity.users.retire(ann.id), identity.users.set_active(ann.id, active=True)):
        with pytest.raises(NotFound):
            await gone


async def test_a_first_password_of_an_operator_may_break_the_rules(identity: Identity) -> None:
    """It is written down in a guide, and replaced by one that keeps them."""
    with pytest.raises(BadRequest):
        await identity.users.register("admin", "admin")
    admin = await identity.users.register("admin", "admin", enforce_rules=False)
    assert await identity.users.authenticate("admin", "admin") == admin
    with pytest.raises(BadRequest):
        await identity.users.set_password(admin.id, "admin")
    with pytest.raises(BadRequest):
        await identity.users.register("other", "", enforce_rules=False)


async def test_who_has_failed_too_often_waits_and_costs_no_hash(store: Store) -> None:
    """429 with Retry-After, in the same words for names that nobody has."""
    hashes = 0

    class Counting:
        def hash(self, password: bytes) -> str:
            nonlocal hashes
            hashes += 1
            return CHEAP.hash(password)

    users = Users(store, Passwords(hasher=Counting()))  # type: ignore[arg-type]
    for name in ("nobody", "NOBODY") * 6:
        with pytest.raises((Unauthenticated, RateLimited)):
            await users.authenticate(name, "wrong", client="192.0.2.1")
    before = hashes
    with pytest.raises(RateLimited) as caught:
        await users.authenticate("nobody", "wrong", client="198.51.100.1")
    assert caught.value.retry_after >= 1
    assert hashes == before
