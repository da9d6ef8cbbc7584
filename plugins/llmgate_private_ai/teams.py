"""Teams: organizations of the gate with what this surface knows of them besides, and their members."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec import Struct

from llmgate.plugin.api import (
    BadRequest,
    NotFound,
    memberships_table,
    name_of,
    organizations_table,
)
from llmgate.plugin.kit.shapes import filled

from .plans import Plan, Standing, check_users, plan_of
from .roles import Role
from .shapes import ShownUser, iso, iso_or_none
from .tables import region_teams, team_products, teams

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

    from .people import People
    from .products import Products


@dataclass(frozen=True, slots=True)
class Team:
    """A team as stored. Times are seconds since the epoch."""

    id: int
    name: str
    is_active: bool
    admin_email: str
    phone: str | None
    billing_address: str | None
    is_always_free: bool
    budget_type: str
    force_user_keys: bool
    stripe_customer_id: str | None
    last_payment: float | None
    created_at: float
    updated_at: float | None
    deleted_at: float | None


class ShownTeam(Struct, frozen=True, kw_only=True):
    """A team as the API shows it."""

    id: int
    name: str
    admin_email: str
    phone: str | None
    billing_address: str | None
    is_active: bool
    is_always_free: bool
    created_at: str
    updated_at: str | None
    last_payment: str | None
    stripe_customer_id: str | None
    budget_type: str
    deleted_at: str | None
    force_user_keys: bool

    @classmethod
    def of(cls, team: Team, **rest: Any) -> Any:
        """As the API shows it; a subclass gets what it has besides."""
        return filled(cls, team, time=iso, last_payment=iso_or_none(team.last_payment), **rest)


class ShownTeamWithUsers(ShownTeam, frozen=True, kw_only=True):
    """And who is in it."""

    users: list[ShownUser]


@dataclass(frozen=True, slots=True)
class WhichTeams:
    """Which teams a list has."""

    include_deleted: bool = False
    name: str = ""
    admin_email: str = ""
    is_active: bool | None = None
    skip: int = 0
    limit: int = 1000


_OWN = [name for name in Team.__dataclass_fields__ if name not in ("name", "is_active")]
_TEAMS: sa.Select[Any] = sa.select(*organizations_table.c["name", "is_active"], *teams.c[*_OWN]).join(
    organizations_table, organizations_table.c.id == teams.c.id
)


class Teams:
    """The teams in `store`. What takes `db` is a part of the caller's transaction, which is a `Store.change`."""

    def __init__(self, store: Store, people: People, products: Products, defaults: Plan) -> None:
        self._store = store
        self._people = people
        self._products = products
        self.defaults = defaults

    async def create(self, db: AsyncConnection, name: str, admin_email: str, **values: Any) -> Team:
        """A new team without members. Raises `BadRequest` for a name or an admin's address that is taken."""
        await self._store.serialize(db, "private ai teams")
        if await db.scalar(sa.select(teams.c.id).where(teams.c.admin_email == admin_email, _present())):
            raise BadRequest("Email already registered")
        now = self._store.clock()
        row = {"uuid": str(uuid.uuid4()), "name": name_of("name", name), "is_active": True, "created_at": now}
        insert = self._store.insert(organizations_table).values(row).on_conflict_do_nothing()
        team_id = await db.scalar(insert.returning(organizations_table.c.id))
        if team_id is None:
            raise BadRequest("Team name already exists")
        own = {
            "id": team_id,
            "admin_email": admin_email,
            "is_always_free": False,
            "budget_type": "periodic",
            "force_user_keys": False,
            "created_at": now,
        }
        await db.execute(teams.insert().values({**own, **values}))
        return await self.by_id(team_id, db)

    async def by_id(self, team_id: int, db: AsyncConnection | None = None) -> Team:
        """The team with this id, deleted ones included. Raises `NotFound`."""
        return await self._one(teams.c.id == team_id, db)

    async def with_admin_email(self, email: str, db: AsyncConnection) -> Team | None:
        """The team that was made for this address."""
        row = (await db.execute(_TEAMS.where(teams.c.admin_email == email, _present()))).mappings().first()
        return None if row is None else Team(**row)

    async def with_customer(self, stripe_customer_id: str) -> Team:
        """The team that pays as this customer. Raises `NotFound`."""
        return await self._one(teams.c.stripe_customer_id == stripe_customer_id)

    async def page(self, which: WhichTeams) -> list[Team]:
        """A page of those that match, oldest first."""
        query = _TEAMS.order_by(teams.c.id).offset(which.skip).limit(which.limit)
        if not which.include_deleted:
            query = query.where(_present())
        if which.name:
            query = query.where(organizations_table.c.name.icontains(which.name, autoescape=True))
        if which.admin_email:
            query = query.where(teams.c.admin_email.icontains(which.admin_email, autoescape=True))
        if which.is_active is not None:
            query = query.where(organizations_table.c.is_active == which.is_active)
        async with self._store.connect() as db:
            return [Team(**row) for row in (await db.execute(query)).mappings()]

    async def update(self, db: AsyncConnection, team_id: int, values: dict[str, Any]) -> Team:
        """Change what `values` has. Raises `NotFound`, and `BadRequest` for a name that is taken."""
        core = {name: values.pop(name) for name in ("name", "is_active") if name in values}
        if "name" in core:
            core["name"] = name_of("name", core["name"])
            same = sa.select(organizations_table.c.id).where(organizations_table.c.name == core["name"])
            await self._store.serialize(db, "private ai teams")
            if await db.scalar(same.where(organizations_table.c.id != team_id)):
                raise BadRequest("Team name already exists")
        if core:
            await db.execute(
                organizations_table.update().where(organizations_table.c.id == team_id).values(core)
            )
        values = {**values, "updated_at": self._store.clock()}
        if not (await db.execute(teams.update().where(teams.c.id == team_id).values(values))).rowcount:
            raise _no_team()
        return await self.by_id(team_id, db)

    async def delete(self, db: AsyncConnection, team_id: int) -> None:
        """Delete it for good; its name is free again, its members stay. The caller sees to keys."""
        for table in (region_teams, team_products):
            await db.execute(table.delete().where(table.c.team_id == team_id))
        await db.execute(memberships_table.delete().where(memberships_table.c.organization_id == team_id))
        await db.execute(teams.delete().where(teams.c.id == team_id))
        retired = {"name": f"deleted team {team_id} {uuid.uuid4()}", "is_active": False}
        await db.execute(
            organizations_table.update().where(organizations_table.c.id == team_id).values(retired)
        )

    async def standing(self, team: Team, db: AsyncConnection) -> Standing:
        """What its plan follows from."""
        started_at = team.created_at if team.last_payment is None else team.last_payment
        return Standing(started_at, team.is_always_free, await self._products.of_team(team.id, db))

    async def plan(self, team: Team, db: AsyncConnection) -> Plan:
        """What it may have."""
        return plan_of(self.defaults, await self._products.of_team(team.id, db))

    async def join(
        self, db: AsyncConnection, team_id: int, user_id: int, role: str, *, limited: bool
    ) -> None:
        """Make a user a member, or change a member's role.

        Raises `BadRequest` for one who is in another team or administers the gate, `LimitReached` where the
        plan has no room (if `limited`).
        """
        await self._store.serialize(db, f"private ai members {team_id}")
        team, person = await self.by_id(team_id, db), await self._people.by_id(user_id, db)
        if person.is_admin:
            raise BadRequest("System administrators cannot be added to a team")
        if person.team_id not in (None, team_id):
            raise BadRequest("User is already a member of another team")
        if person.team_id is None and limited:
            check_users(await self.plan(team, db), len(await self._people.members(team_id, db)))
        row = {"user_id": user_id, "organization_id": team_id, "role": role}
        insert = self._store.insert(memberships_table).values(row)
        key = ["user_id", "organization_id"]
        await db.execute(insert.on_conflict_do_update(index_elements=key, set_={"role": role}))

    async def leave(self, db: AsyncConnection, team_id: int, user_id: int) -> None:
        """End a membership. Raises `BadRequest` for the team's last admin."""
        await self.keep_an_admin(db, team_id, user_id)
        gone = memberships_table.delete().where(
            memberships_table.c.user_id == user_id, memberships_table.c.organization_id == team_id
        )
        await db.execute(gone)

    async def keep_an_admin(self, db: AsyncConnection, team_id: int, user_id: int) -> None:
        """Raise `BadRequest` if this user is the only admin of the team."""
        await self._store.serialize(db, f"private ai members {team_id}")
        admins = [one.id for one in await self._people.members(team_id, db) if one.role == Role.ADMIN]
        if admins == [user_id]:
            raise BadRequest("Cannot remove the last team admin from the team")

    async def _one(self, where: sa.ColumnElement[bool], db: AsyncConnection | None = None) -> Team:
        if db is None:
            async with self._store.connect() as reading:
                return await self._one(where, reading)
        row = (await db.execute(_TEAMS.where(where))).mappings().first()
        if row is None:
            raise _no_team()
        return Team(**row)


def _present() -> sa.ColumnElement[bool]:
    return teams.c.deleted_at.is_(None)


def _no_team() -> NotFound:
    return NotFound("Team not found")
