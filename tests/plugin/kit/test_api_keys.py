"""Keys made, listed and revoked, over a real store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection
from stores import Clock, clock, migrated_file, sqlite_url

from llmgate.errors import BadRequest, Forbidden, NotFound
from llmgate.exchange import Principal
from llmgate.identity import Identity, Key
from llmgate.ledger import Allotment, Quotas, Subject, Unit
from llmgate.plugin.api import AnyCall
from llmgate.plugin.kit.api_keys import ApiKeys
from llmgate.plugin.kit.formats import NO_STORE
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "sqlite_url"]


class NewKey(Struct, frozen=True):
    name: str
    scope: str | None = None


@dataclass
class Asked:
    """What of a call keys look at."""

    principal: Principal
    body: Any = None
    path: Any = None


@dataclass
class Desk:
    """A store with users in it, and calls of theirs."""

    store: Store
    identity: Identity

    def keys(self, **more: Any) -> ApiKeys:
        return ApiKeys(
            self.identity,
            terms=lambda call: {"name": call.body.name, "prefix": "t_", "scope": call.body.scope},
            created=lambda _, key, secret: (key.id, key.name, secret),
            listed=lambda key: (key.id, key.name, key.masked),
            **more,
        )

    async def call(self, name: str, body: Any = None, key: object = "") -> AnyCall:
        users = self.identity.users
        try:
            user = await users.by_username(name)
        except NotFound:
            user = await users.register(name, None)
        call: Any = Asked(Principal(user.id, name, frozenset()), body, {"id": str(key)})
        return call


@pytest.fixture
async def desk(sqlite_url: str, clock: Clock) -> AsyncIterator[Desk]:
    async with Store.open(sqlite_url, clock=clock) as store:
        yield Desk(store, Identity.over(store))


async def test_a_key_is_shown_once_and_then_listed(desk: Desk) -> None:
    """To nobody else, and by no cache."""
    keys = desk.keys()
    reply = await keys.create(await desk.call("ann", NewKey("first", "models")))
    assert (reply.status, reply.headers) == (201, NO_STORE)
    number, name, secret = reply.value  # type: ignore[misc]
    assert (name, secret[:2]) == ("first", "t_")
    principal = await desk.identity.keys.verify(secret)
    assert (principal.key_id, principal.scope) == (number, "models")
    assert await keys.all(await desk.call("ann")) == [(number, "first", f"t_...{secret[-4:]}")]
    assert await keys.all(await desk.call("bob")) == []


async def test_a_key_ends_for_its_owner_alone(desk: Desk) -> None:
    """And once; what can be no key is none."""
    keys = desk.keys()
    number = (await keys.create(await desk.call("ann", NewKey("k")))).value[0]  # type: ignore[index]
    for name, key in (("bob", number), ("ann", number + 1), ("ann", "x")):
        with pytest.raises(NotFound, match="There is no such"):
            await keys.revoke(await desk.call(name, key=key))
    await keys.revoke(await desk.call("ann", key=number))
    with pytest.raises(NotFound):
        await keys.revoke(await desk.call("ann", key=number))
    assert await keys.all(await desk.call("ann")) == []


async def test_the_owner_may_be_somebody_else(desk: Desk) -> None:
    """Whom the request names."""
    bob = (await desk.call("bob")).principal.user_id

    async def owner(_: AnyCall) -> int:
        return bob

    await desk.keys(owner=owner).create(await desk.call("ann", NewKey("k")))
    assert [key.name for key in await desk.identity.keys.of_user(bob)] == ["k"]


async def test_a_key_is_held_to_its_limit_from_the_beginning(desk: Desk) -> None:
    """Both are written or neither is."""
    quotas = Quotas(desk.store)

    async def hold(_call: AnyCall, db: AsyncConnection, key: Key) -> None:
        await quotas.give(db, Subject("key", key.id), Allotment(Unit.REQUESTS, 5))
        if key.name == "bad":
            raise BadRequest("no")

    keys = desk.keys(hold=hold)
    number = (await keys.create(await desk.call("ann", NewKey("k")))).value[0]  # type: ignore[index]
    assert [each.allotment.limit for each in await quotas.of(Subject("key", number))] == [5]
    with pytest.raises(BadRequest):
        await keys.create(await desk.call("ann", NewKey("bad")))
    assert len(await keys.all(await desk.call("ann"))) == 1


async def test_there_are_at_most_so_many(desk: Desk) -> None:
    """Of those that are not revoked."""
    keys = desk.keys(most=1)
    number = (await keys.create(await desk.call("ann", NewKey("k")))).value[0]  # type: ignore[index]
    with pytest.raises(BadRequest, match="at most 1"):
        await keys.create(await desk.call("ann", NewKey("k2")))
    await keys.revoke(await desk.call("ann", key=number))
    await keys.create(await desk.call("ann", NewKey("k2")))


async def test_a_key_makes_no_key_that_can_do_more(desk: Desk) -> None:
    """One that is for models alone."""
    keys = desk.keys()
    reply = await keys.create(await desk.call("ann", NewKey("k", "models")))
    call: Any = Asked(await desk.identity.keys.verify(reply.value[2]), NewKey("more", "account"))  # type: ignore[index]
    with pytest.raises(Forbidden):
        await keys.create(call)
