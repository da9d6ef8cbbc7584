"""Registering, logging in and refreshing, over a real store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from argon2 import PasswordHasher
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection
from stores import Clock, clock, migrated_file, sqlite_url

from llmgate.errors import BadRequest, Forbidden, Unauthenticated
from llmgate.exchange import Principal
from llmgate.identity import ADMIN, Identity, PasswordRules
from llmgate.plugin.api import AnyCall
from llmgate.plugin.kit.accounts import Accounts, Credentials, Token
from llmgate.plugin.kit.formats import NO_STORE
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "sqlite_url"]


class WithEmail(Credentials, frozen=True):
    email: str | None = None


class SignedIn(Struct, frozen=True):
    name: str
    token: str


@dataclass
class Asked:
    """What of a call accounts look at."""

    body: Any = None
    principal: Principal | None = None
    client: str | None = "127.0.0.1"


def ask(body: Any = None, principal: Principal | None = None) -> AnyCall:
    call: Any = Asked(body, principal)
    return call


@pytest.fixture
async def identity(sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Identity]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("llmgate.identity.passwords.PasswordHasher", lambda: cheap)
    async with Store.open(sqlite_url, clock=clock) as store:
        yield Identity.over(store)


async def test_who_registers_can_log_in(identity: Identity) -> None:
    """By name or address; the answer is one that no cache keeps."""
    accounts = Accounts(identity)
    user = await accounts.register(ask(WithEmail("ann", "secret-password", "ann@example.com")))
    assert (user.username, user.email) == ("ann", "ann@example.com")
    for login in ("ann", "ann@example.com"):
        reply = await accounts.log_in(ask(Credentials(login, "secret-password")))
        assert (reply.status, reply.headers) == (200, NO_STORE)
        assert isinstance(reply.value, Token)
        principal = await identity.sessions.verify(reply.value.access_token)
        assert principal is not None
        assert await accounts.caller(ask(principal=principal)) == user


async def test_a_surface_answers_in_its_own_words(identity: Identity) -> None:
    """For one session in others still."""
    accounts = Accounts(identity, signed_in=lambda user, session: SignedIn(user.username, session.token))
    user = await accounts.register(ask(Credentials("ann", "secret-password")))
    assert isinstance((await accounts.begin(user)).value, SignedIn)
    reply = await accounts.begin(user, lambda user, _: user.username, status=201)
    assert (reply.value, reply.status) == ("ann", 201)


async def test_closed_is_closed(identity: Identity) -> None:
    """Before anything else is looked at."""
    accounts = Accounts(identity, is_open=False)
    with pytest.raises(Forbidden, match="Registration is closed"):
        await accounts.register(ask(Credentials("\n", "")))
    with pytest.raises(Forbidden):
        accounts.check_open()


async def test_a_guides_own_rules_hold_too(identity: Identity) -> None:
    """For passwords; and the first of all users gets the first roles."""
    accounts = Accounts(identity, rules=PasswordRules(min_length=20, max_bytes=72), first_roles=[ADMIN])
    with pytest.raises(BadRequest):
        await accounts.register(ask(Credentials("ann", "secret-password")))
    first = await accounts.register(ask(Credentials("ann", "x" * 20)))
    second = await accounts.register(ask(Credentials("bob", "x" * 20)))
    assert (first.is_admin, second.is_admin) == (True, False)


async def test_what_a_user_must_have_is_written_with_the_user(identity: Identity) -> None:
    """Both or neither."""

    async def fail(_db: AsyncConnection, _user_id: int) -> None:
        raise BadRequest("no")

    accounts = Accounts(identity)
    with pytest.raises(BadRequest):
        await accounts.register(ask(Credentials("ann", "secret-password")), also=fail)
    assert await identity.users.search() == []


async def test_a_session_is_refreshed_and_a_key_is_not(identity: Identity) -> None:
    """One that is revoked must not live on in a session."""
    accounts = Accounts(identity)
    user = await accounts.register(ask(Credentials("ann", "secret-password")))
    principal = await identity.sessions.verify((await identity.sessions.issue(user)).token)
    reply = await accounts.refresh(ask(principal=principal))
    assert isinstance(reply.value, Token)
    assert await identity.sessions.verify(reply.value.access_token) is not None
    _, secret = await identity.keys.create(user.id, "k")
    with pytest.raises(Unauthenticated) as refusal:
        await accounts.refresh(ask(principal=await identity.keys.verify(secret)))
    assert refusal.value.answer_code == "invalid_token"


async def test_all_sessions_of_the_caller_end_and_no_others(identity: Identity) -> None:
    ann, bob = [await identity.users.register(name, None) for name in ("ann", "bob")]
    anns = [await identity.sessions.issue(ann) for _ in range(2)]
    bobs = await identity.sessions.issue(bob)
    principal = await identity.sessions.verify(anns[0].token)
    await Accounts(identity).log_out_everywhere(ask(principal=principal))
    for session in anns:
        with pytest.raises(Unauthenticated):
            await identity.sessions.verify(session.token)
    assert await identity.sessions.verify(bobs.token) is not None


def test_nothing_shows_a_password_or_a_token() -> None:
    """Where a log or an error would write it."""
    assert repr(WithEmail("ann", "secret")) == "WithEmail(username='ann', password='***', email=None)"
    assert "secret" not in repr(Token("secret"))
