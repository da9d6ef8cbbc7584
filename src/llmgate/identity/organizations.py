"""Organizations: users who share quotas and keys."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import BadRequest, Conflict, NotFound
from ..permissions import Permissions, decode, encode
from ..store.schema import api_keys, memberships, organizations, users
from .new_keys import LAST_TIME, rate_of
from .validation import name_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization as stored. `created_at` is in seconds since the epoch."""

    id: int
    uuid: str
    name: str
    is_active: bool
    created_at: float
    retired_at: float | None = None
    requests_per_minute: int | None = None
    """Of all its keys together."""
    expires_at: float | None = None
    permissions: Permissions | None = None
    """What holds for all of its keys; None: as for everybody."""


_COLUMNS = organizations.c[*Organization.__dataclass_fields__]


def _organization(row: Sequence[Any]) -> Organization:
    """Of a row of `_COLUMNS`."""
    values = dict(zip(Organization.__dataclass_fields__, row, strict=True))
    return Organization(**{**values, "permissions": decode(values["permissions"])})


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organization; what the role means is for the surface to say."""

    user_id: int
    username: str
    role: str


@dataclass(frozen=True, slots=True)
class Membership:
    """An organization of a user, and the user's role in it."""

    organization: Organization
    role: str


class Organizations:
    """The organizations in `store`."""

    def __init__(self, store: Store, *, new_id: Callable[[], object] = uuid.uuid4) -> None:
        self._store = store
        self._new_id = new_id

    async def create(self, name: str) -> Organization:
        """A new organization. Raises `BadRequest` for a bad name, `Conflict` for one that is taken."""
        row = {
            "uuid": str(self._new_id()),
            "name": name_of("name", name),
            "is_active": True,
            "created_at": self._store.clock(),
        }
        insert = self._store.insert(organizations).values(row).on_conflict_do_nothing()
        async with self._store.begin() as conn:
            created = (await conn.execute(insert.returning(*_COLUMNS))).first()
        if created is None:
            raise Conflict("The name is taken.", param="name")
        return _organization(created)

    async def by_id(self, organization_id: int) -> Organization:
        """The organization with this id. Raises `NotFound`."""
        return await self._find(organizations.c.id == organization_id)

    async def by_uuid(self, uuid: str) -> Organization:
        """The organization with this UUID. Raises `NotFound`."""
        return await self._find(organizations.c.uuid == uuid)

    async def by_name(self, name: str) -> Organization:
        """The organization of exactly this name. Raises `NotFound`."""
        return await self._find(organizations.c.name == name)

    async def all(self) -> list[Organization]:
        """Every organization that was not retired, oldest first."""
        async with self._store.connect() as conn:
            there = organizations.c.retired_at.is_(None)
            rows = await conn.execute(sa.select(*_COLUMNS).where(there).order_by(organizations.c.id))
            return [_organization(row) for row in rows]

    async def rename(self, organization_id: int, name: str) -> None:
        """Give it another name. Raises `BadRequest`, `NotFound`, and `Conflict` for a name that is taken."""
        name = name_of("name", name)
        others = organizations.alias()
        free = ~sa.exists().where(others.c.name == name, others.c.id != organization_id)
        async with self._store.begin() as conn:
            await _require(conn, organization_id)
            update = organizations.update().where(organizations.c.id == organization_id, free)
            if not (await conn.execute(update.values(name=name))).rowcount:
                raise Conflict("The name is taken.", param="name")

    async def set_active(self, organization_id: int, active: bool) -> None:
        """Let its keys be used, or (False) not. Raises `NotFound`."""
        await self._change(organization_id, is_active=active)

    async def _change(self, organization_id: int, **values: object) -> None:
        async with self._store.change() as conn:
            await _require(conn, organization_id)
            update = organizations.update().where(organizations.c.id == organization_id)
            await conn.execute(update.values(**values))

    async def set_permissions(self, organization_id: int, permissions: Permissions) -> None:
        """Hold all of its keys to these, in every process at once. Raises `BadRequest`, `NotFound`."""
        await self._change(organization_id, permissions=encode(permissions.checked()))

    async def set_requests_per_minute(self, organization_id: int, limit: int | None) -> None:
        """Limit all of its keys together, or (None) not. Raises `BadRequest`, `NotFound`."""
        await self._change(organization_id, requests_per_minute=rate_of(limit))

    async def set_expiry(self, organization_id: int, expires_at: float | None) -> None:
        """Let its keys end then, or (None) when they do themselves; a time that has passed ends them at once.

        Raises `BadRequest` for a time that is none, `NotFound`.
        """
        if expires_at is not None and not (math.isfinite(expires_at) and expires_at <= LAST_TIME):
            raise BadRequest(
                "The organization must end at some time before the year 10000.", param="expires_at"
            )
        await self._change(organization_id, expires_at=expires_at)

    async def retire(self, organization_id: int) -> None:
        """Take away an organization whose usage must stay: its keys and memberships end for good.

        The name is free again; the row stays, for the records, under a name that says nothing. Raises `NotFound`.
        """
        now = self._store.clock()
        async with self._store.change() as conn:
            await _require(conn, organization_id)
            this = organizations.c.id == organization_id
            name = sa.literal("retired-") + organizations.c.uuid
            update = organizations.update().where(this)
            await conn.execute(update.values(name=name, is_active=False, retired_at=now))
            await conn.execute(memberships.delete().where(memberships.c.organization_id == organization_id))
            keys = api_keys.update().where(
                api_keys.c.organization_id == organization_id, api_keys.c.revoked_at.is_(None)
            )
            await conn.execute(keys.values(revoked_at=now))
            service = users.update().where(users.c.service_of == organization_id)
            await conn.execute(service.values(is_active=False))

    async def members(self, organization_id: int) -> list[Member]:
        """Its members by name. Raises `NotFound`."""
        query = (
            sa.select(users.c.id, users.c.username, memberships.c.role)
            .join_from(memberships, users)
            .where(memberships.c.organization_id == organization_id)
            .order_by(users.c.username)
        )
        async with self._store.connect() as conn:
            await _require(conn, organization_id)
            return [Member(*row) for row in await conn.execute(query)]

    async def of_user(self, user_id: int) -> list[Membership]:
        """The organizations that a user is in, oldest first."""
        query = (
            sa.select(*_COLUMNS, memberships.c.role)
            .join_from(memberships, organizations)
            .where(memberships.c.user_id == user_id)
            .order_by(organizations.c.id)
        )
        async with self._store.connect() as conn:
            return [Membership(_organization(row[:-1]), row.role) for row in await conn.execute(query)]

    async def add_member(self, organization_id: int, user_id: int, *, role: str = MEMBER) -> None:
        """Make a user a member, or give a member another role. Raises `BadRequest`, `NotFound`."""
        row = {
            "user_id": user_id,
            "organization_id": organization_id,
            "role": name_of("role", role),
        }
        insert = self._store.insert(memberships).values(row)
        async with self._store.change() as conn:
            await _require(conn, organization_id)
            if not await conn.scalar(sa.select(users.c.id).where(users.c.id == user_id)):
                raise NotFound("There is no such user.")
            key = [memberships.c.user_id, memberships.c.organization_id]
            await conn.execute(insert.on_conflict_do_update(index_elements=key, set_={"role": row["role"]}))

    async def remove_member(self, organization_id: int, user_id: int) -> None:
        """End a membership, and with it the user's keys of this organization. Raises `NotFound`."""
        delete = memberships.delete().where(
            memberships.c.organization_id == organization_id, memberships.c.user_id == user_id
        )
        async with self._store.change() as conn:
            if not (await conn.execute(delete)).rowcount:
                raise NotFound("There is no such member.")

    async def _find(self, where: sa.ColumnElement[bool]) -> Organization:
        async with self._store.connect() as conn:
            row = (await conn.execute(sa.select(*_COLUMNS).where(where))).first()
        if row is None:
            raise NotFound("There is no such organization.")
        return _organization(row)


async def _require(conn: AsyncConnection, organization_id: int) -> None:
    there = organizations.c.id == organization_id, organizations.c.retired_at.is_(None)
    if not await conn.scalar(sa.select(organizations.c.id).where(*there)):
        raise NotFound("There is no such organization.")
