"""Users as this surface knows them: by e-mail address, in at most one team, with one role there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from llmgate.plugin.api import (
    ADMIN,
    NotFound,
    email_of,
    memberships_table,
    organizations_table,
    user_roles_table,
    users_table,
)

from .roles import Rank, Role
from .tables import teams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Store

FOUND_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class Person:
    """A user. `team_active` is False where the team is suspended or deleted; of a deleted one nobody is active."""

    id: int
    email: str
    is_active: bool
    is_admin: bool
    team_id: int | None
    team_name: str | None
    role: str | None
    team_active: bool | None

    @property
    def suspended(self) -> bool:
        """Whether the team's suspension keeps this user out."""
        return self.team_active is False and not self.is_admin

    @property
    def rank(self) -> Rank:
        """The column of the table of roles that holds."""
        if self.is_admin:
            return Rank.SYSTEM_ADMIN
        if self.team_id is None:
            return Rank.NO_TEAM
        ranks = {Role.ADMIN: Rank.TEAM_ADMIN, Role.KEY_CREATOR: Rank.KEY_CREATOR}
        return ranks.get(Role(self.role), Rank.READ_ONLY) if self.role in set(Role) else Rank.READ_ONLY


@dataclass(frozen=True, slots=True)
class Which:
    """Which users a list has, and how it is sorted."""

    team_id: int | None = None
    search: str = ""
    role: str | None = None
    include_inactive: bool = True
    skip: int = 0
    limit: int = 1000
    sort_by: str = "id"
    descending: bool = False


_IS_ADMIN = sa.exists().where(
    user_roles_table.c.user_id == users_table.c.id, user_roles_table.c.role == ADMIN
)
_IS_ACTIVE = users_table.c.is_active & teams.c.deleted_at.is_(None)
_PEOPLE: sa.Select[Any] = (
    sa.select(
        users_table.c.id,
        users_table.c.email,
        _IS_ACTIVE.label("is_active"),
        _IS_ADMIN.label("is_admin"),
        memberships_table.c.organization_id.label("team_id"),
        organizations_table.c.name.label("team_name"),
        memberships_table.c.role,
        organizations_table.c.is_active.label("team_active"),
    )
    .outerjoin(memberships_table, memberships_table.c.user_id == users_table.c.id)
    .outerjoin(organizations_table, organizations_table.c.id == memberships_table.c.organization_id)
    .outerjoin(teams, teams.c.id == organizations_table.c.id)
    .where(users_table.c.email.is_not(None))  # the others are no people of this surface
)
SORTED_BY = {"id": users_table.c.id, "email": users_table.c.email, "team_name": organizations_table.c.name,
             "role": memberships_table.c.role, "is_active": _IS_ACTIVE}  # fmt: skip


class People:
    """The users in `store`, read; what changes one are the gate's own services."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def by_id(self, user_id: int, db: AsyncConnection | None = None) -> Person:
        """The user with this id. Raises `NotFound`."""
        found = await self._find(users_table.c.id == user_id, db)
        if found is None:
            raise NotFound("User not found")
        return found

    async def by_email(self, email: str) -> Person | None:
        """The user with this address, in whatever case; if there is none, of the address without its +tag."""
        found = await self._find(users_table.c.email == email.lower())
        return found or await self._find(users_table.c.email == untagged(email.lower()))

    async def page(self, which: Which) -> tuple[list[Person], int]:
        """A page of those that match, and how many there are in all."""
        query = _PEOPLE.where(*_conditions(which))
        column = SORTED_BY[which.sort_by]
        page = query.order_by(column.desc() if which.descending else column, users_table.c.id)
        async with self._store.connect() as db:
            total = await db.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
            rows = await db.execute(page.offset(which.skip).limit(which.limit))
            return [Person(**row) for row in rows.mappings()], int(total or 0)

    async def search(self, part: str) -> list[Person]:
        """The first few whose address holds `part`, in any case; % and _ mean themselves."""
        query = _PEOPLE.where(users_table.c.email.icontains(part, autoescape=True))
        async with self._store.connect() as db:
            rows = await db.execute(query.order_by(users_table.c.id).limit(FOUND_AT_MOST))
            return [Person(**row) for row in rows.mappings()]

    async def members(self, team_id: int, db: AsyncConnection | None = None) -> Sequence[Person]:
        """The members of a team, oldest first."""
        query = _PEOPLE.where(memberships_table.c.organization_id == team_id).order_by(users_table.c.id)
        if db is not None:
            return [Person(**row) for row in (await db.execute(query)).mappings()]
        async with self._store.connect() as reading:
            return [Person(**row) for row in (await reading.execute(query)).mappings()]

    async def _find(self, where: sa.ColumnElement[bool], db: AsyncConnection | None = None) -> Person | None:
        if db is None:
            async with self._store.connect() as reading:
                return await self._find(where, reading)
        row = (
            (await db.execute(_PEOPLE.where(where).order_by(memberships_table.c.organization_id)))
            .mappings()
            .first()
        )
        return None if row is None else Person(**row)


def untagged(email: str) -> str:
    """`name@host` of `name+tag@host`: a tag makes no second account."""
    local, at, host = email.rpartition("@")
    return local.partition("+")[0] + at + host if local.partition("+")[0] else email


def address_of(text: str) -> str:
    """`text` as the address of an account: lower case, without a tag. Raises `BadRequest`."""
    return untagged(email_of(text.strip()))


def _conditions(which: Which) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if which.team_id is not None:
        conditions.append(memberships_table.c.organization_id == which.team_id)
    if which.search:
        conditions.append(users_table.c.email.icontains(which.search, autoescape=True))
    if which.role == "system_admin":
        conditions.append(_IS_ADMIN)
    elif which.role:
        conditions.append(memberships_table.c.role == which.role)
    if not which.include_inactive:
        conditions.append(_IS_ACTIVE)
    return conditions
