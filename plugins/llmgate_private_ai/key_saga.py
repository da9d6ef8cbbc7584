"""How a key is made and unmade, so that whatever fails or dies on the way, nothing is left over.

Making: one transaction checks the plan, makes the token, gives it its budget and writes the row, in the
state `creating` and due for giving up a little later; then the server makes the database; then the row is
`live`. What fails in between is taken back at once, and by the periodic job where that fails too or where
the gate was killed. Unmaking: one transaction revokes the token and marks the row; the server drops the
database; the row goes. The token is dead from the first try on, and the job goes on trying.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmgate.plugin.kit.periodic import backoff
from llmgate.plugin.kit.vector_databases import VectorDatabase, VectorServerFailed

from .keys import State
from .plans import UNLIMITED, Terms, Wanted, check_key, days_left, terms_of
from .shapes import RegionFailed

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Key

    from .keys import PrivateKey
    from .parts import Parts
    from .people import Person
    from .regions import Region

log = logging.getLogger("llmgate.private_ai")

PREFIX = "sk-"
SCOPE: Final = "models"
GIVE_UP_AFTER = 30.0
"""Seconds after which a creation that nobody has ended is taken back: requests take five at most."""
LONGEST_WAIT = 300.0


@dataclass(frozen=True, slots=True)
class Order:
    """A key to be made: for a user or for a team, in a region, with a token, a database, or both."""

    name: str
    region: Region
    token: bool
    database: bool
    owner: Person | None = None
    team_id: int | None = None

    @property
    def payer(self) -> int | None:
        """The team whose plan holds."""
        return self.team_id if self.owner is None else self.owner.team_id


class KeySaga:
    """See the module's text."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, order: Order) -> PrivateKey:
        """Make a key. Raises `LimitReached`, and `RegionFailed` where the database could not be made."""
        database = VectorDatabase.generate() if order.database else None
        key_id = await self._begin(order, database)
        try:
            if database is not None:
                await self._parts.servers.at(order.region.server).create(database)
            async with self._parts.gate.store.begin() as db:
                if not await self._parts.keys.made(db, key_id):
                    raise RegionFailed("The key was given up before it was complete. Try again.")
                await self._parts.webhooks.tell(db, order.payer, "key.created", id=key_id, name=order.name)
        except VectorServerFailed as error:
            await self._abandon(key_id)
            raise RegionFailed(f"Failed to create vector database: {error}") from error
        self._parts.wake()  # whoever asked to hear of new keys does so now
        return await self._parts.keys.by_id(key_id)

    async def delete(self, key: PrivateKey) -> None:
        """Unmake a key. Raises `RegionFailed` where its server fails; its token is dead all the same."""
        await self._mark(key)
        try:
            await self._unmake(key)
        except VectorServerFailed as error:
            raise RegionFailed(f"Failed to delete vector database: {error}") from error

    async def work_off(self) -> None:
        """End what was cut or has failed: for a periodic job."""
        for key in await self._parts.keys.due():
            await self._mark(key)
            try:
                await self._unmake(key)
            except VectorServerFailed as error:
                wait = backoff(key.attempts, longest=LONGEST_WAIT)
                log.warning("key %d is not deleted yet, again in %g s: %s", key.id, wait, error)
                async with self._parts.gate.store.begin() as db:
                    due_at = self._parts.gate.store.clock() + wait
                    await self._parts.keys.update(db, key.id, attempts=key.attempts + 1, due_at=due_at)

    async def _begin(self, order: Order, database: VectorDatabase | None) -> int:
        """The first step; returns the id of the row."""
        row_uuid = str(uuid.uuid4())
        values = {
            "name": order.name,
            "region_id": order.region.id,
            "owner_id": None if order.owner is None else order.owner.id,
            "team_id": order.team_id,
            "due_at": self._parts.gate.store.clock() + GIVE_UP_AFTER,
        }
        if database is not None:
            values |= {
                "database_name": database.name,
                "database_username": database.username,
                "database_password": database.password,
            }
        if not order.token:
            async with self._parts.gate.store.begin() as db:
                await self._check(db, order)
                return await self._parts.keys.insert(db, row_uuid, values)
        return await self._begin_with_token(order, row_uuid, values)

    async def _begin_with_token(self, order: Order, row_uuid: str, values: dict[str, object]) -> int:
        """The same with a token, made in the one transaction that checks the plan and writes the row."""
        made = 0

        async def also(db: AsyncConnection, api_key: Key, token: str) -> None:
            nonlocal made
            terms = await self._check(db, order)
            own = {**values, **self._parts.terms.columns(terms), "api_key_id": api_key.id, "token": token}
            made = await self._parts.keys.insert(db, row_uuid, own)
            await self._parts.terms.give(db, api_key.id, terms, payer=order.payer, region=order.region)

        keys = self._parts.gate.identity.keys
        if order.owner is None:
            assert order.team_id is not None
            await keys.create_for_organization(
                order.team_id, order.name, prefix=PREFIX, scope=SCOPE, also=also
            )
        else:
            await keys.create(
                order.owner.id,
                order.name,
                prefix=PREFIX,
                organization_id=order.owner.team_id,
                scope=SCOPE,
                also=also,
            )
        return made

    async def _check(self, db: AsyncConnection, order: Order) -> Terms:
        """The key's terms. Raises `LimitReached`; nobody else is past here at the same time for the same payer."""
        owner_id = None if order.owner is None else order.owner.id
        whose = f"team {order.payer}" if order.payer is not None else f"user {owner_id}"
        await self._parts.gate.store.serialize(db, f"private ai keys of {whose}")
        if not self._parts.settings.limits:
            return UNLIMITED
        plan, left = self._parts.teams.defaults, self._parts.teams.defaults.renewal_days
        if order.payer is not None:
            team = await self._parts.teams.by_id(order.payer, db)
            standing = await self._parts.teams.standing(team, db)
            plan = await self._parts.teams.plan(team, db)
            left = days_left(standing, plan, self._parts.gate.store.clock())
        there = await self._parts.keys.counted(db, team_id=order.payer, owner_id=owner_id)
        wanted = Wanted(order.token, order.database, order.payer is not None, order.team_id is not None)
        check_key(plan, there, wanted)
        return terms_of(plan, max(left, 0))

    async def _mark(self, key: PrivateKey) -> None:
        """The first step of unmaking: the token is revoked, and the rest is due if nobody does it now."""
        state = State.DELETING if key.state in (State.LIVE, State.DELETING) else State.ABANDONED
        async with self._parts.gate.store.change() as db:
            await self._parts.keys.set_state(
                db, key.id, state, self._parts.gate.store.clock() + GIVE_UP_AFTER
            )
            if key.api_key_id is not None:
                await self._parts.gate.identity.keys.revoke(key.api_key_id, db=db)

    async def _unmake(self, key: PrivateKey) -> None:
        if key.database_name is not None and key.database_username is not None:
            region = await self._parts.regions.by_id(key.region_id)
            await self._parts.servers.at(region.server).drop(key.database_name, key.database_username)
        async with self._parts.gate.store.begin() as db:
            await self._parts.keys.remove(db, key.id)
            await self._parts.webhooks.tell(db, key.payer, "key.deleted", id=key.id, name=key.name)

    async def _abandon(self, key_id: int) -> None:
        """Give up a creation: its token is revoked now, the rest is for the job. The time for an answer is short."""
        for key in await self._parts.keys.all():
            if key.id == key_id:
                await self._mark(key)
        async with self._parts.gate.store.begin() as db:
            await self._parts.keys.update(db, key_id, due_at=self._parts.gate.store.clock())
        self._parts.wake()
