"""Regions in the store: where a key's models and its vector database are. Their secrets are sealed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec import Struct

from llmgate.plugin.api import BadRequest, NotFound, Place
from llmgate.plugin.kit.shapes import filled
from llmgate.plugin.kit.vector_databases import ServerAddress

from .shapes import iso
from .tables import keys, region_teams, regions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import Config, SealedBox, Store

ROUTE = "route:"
"""Before the name of a route of gate.toml, in place of a backend's URL."""

SECRETS = ("postgres_admin_password", "backend_key")


@dataclass(frozen=True, slots=True)
class Region:
    """A region as stored, its secrets opened; they do not show. `created_at`: seconds since the epoch."""

    id: int
    uuid: str
    name: str
    label: str | None
    description: str | None
    postgres_host: str
    postgres_port: int
    postgres_admin_user: str
    backend_url: str
    is_active: bool
    is_dedicated: bool
    created_at: float
    postgres_admin_password: str = field(repr=False)
    backend_key: str = field(repr=False)

    def upstream_in(self, config: Config) -> str:
        """What quotas and records call its models' upstream."""
        if not self.backend_url.startswith(ROUTE):
            return f"region:{self.id}"
        name = self.backend_url.removeprefix(ROUTE)
        return next((str(route.upstream or "") for route in config.routes if route.name == name), "")

    @property
    def server(self) -> ServerAddress:
        """Its PostgreSQL server."""
        return ServerAddress(
            self.postgres_host, self.postgres_port, self.postgres_admin_user, self.postgres_admin_password
        )


class ShownRegion(Struct, frozen=True, kw_only=True):
    """A region as users see it: models are asked at the gate, wherever the region's are."""

    id: int
    name: str
    label: str | None
    description: str | None
    postgres_host: str
    litellm_api_url: str
    is_active: bool
    is_dedicated: bool
    created_at: str

    @classmethod
    def of(cls, region: Region, url: str, **rest: Any) -> Any:
        """As the API shows it; a subclass gets what it has besides."""
        return filled(cls, region, time=iso, litellm_api_url=url, **rest)


class ShownToAdmin(ShownRegion, frozen=True, kw_only=True):
    """A region as system admins see it: with its backend, and never with a secret."""

    postgres_port: int
    postgres_admin_user: str

    @classmethod
    def with_backend(cls, region: Region) -> ShownToAdmin:
        """As the API shows it."""
        return cls.of(region, region.backend_url)  # type: ignore[no-any-return]


_PLAIN = [name for name in Region.__dataclass_fields__ if name not in SECRETS]


class Regions:
    """The regions in `store`."""

    def __init__(self, store: Store, box: SealedBox) -> None:
        self._store = store
        self._box = box

    async def create(self, values: Mapping[str, Any], *, seed: bool = False) -> Region | None:
        """A new region. Raises `BadRequest` for a name that is taken; a `seed` returns None, then."""
        row_uuid, now = str(uuid.uuid4()), self._store.clock()
        row = {**self._sealed(row_uuid, values), "uuid": row_uuid, "created_at": now}
        insert = self._store.insert(regions).values(row).on_conflict_do_nothing().returning(regions)
        async with self._store.change() as db:
            made = (await db.execute(insert)).mappings().first()
        if made is None and not seed:
            raise BadRequest(f"A region with the name '{values['name']}' already exists")
        return None if made is None else self._region(made)

    async def any(self) -> bool:
        """Whether there is one."""
        async with self._store.connect() as db:
            return await db.scalar(sa.select(regions.c.id).limit(1)) is not None

    async def all(self, *, active: bool = False) -> list[Region]:
        """Every region, or those that are active, oldest first."""
        query = sa.select(regions).order_by(regions.c.id)
        async with self._store.connect() as db:
            rows = await db.execute(query.where(regions.c.is_active) if active else query)
            return [self._region(row) for row in rows.mappings()]

    async def seen_by(self, team_id: int | None, *, everything: bool = False) -> list[Region]:
        """The active ones that are public or this team's own; or all active ones."""
        found = await self.all(active=True)
        if everything:
            return found
        own = sa.select(region_teams.c.region_id).where(region_teams.c.team_id == team_id)
        async with self._store.connect() as db:
            dedicated = set((await db.execute(own)).scalars())
        return [region for region in found if not region.is_dedicated or region.id in dedicated]

    async def by_id(self, region_id: int) -> Region:
        """The region with this id. Raises `NotFound`."""
        async with self._store.connect() as db:
            query = sa.select(regions).where(regions.c.id == region_id)
            row = (await db.execute(query)).mappings().first()
        if row is None:
            raise _no_region()
        return self._region(row)

    async def update(self, region_id: int, values: Mapping[str, Any]) -> Region:
        """Change what `values` has; a blank secret keeps the stored one. Raises `NotFound`, `BadRequest`."""
        present = await self.by_id(region_id)
        values = {name: value for name, value in values.items() if name not in SECRETS or value}
        same = sa.select(regions.c.id).where(regions.c.name == values.get("name"), regions.c.id != region_id)
        row = self._sealed(present.uuid, values)
        async with self._store.change() as db:
            await self._store.serialize(db, "private ai regions")
            if await db.scalar(same):
                raise BadRequest(f"A region with the name '{values['name']}' already exists")
            if row:
                await db.execute(regions.update().where(regions.c.id == region_id).values(row))
        return await self.by_id(region_id)

    async def retire(self, region_id: int) -> None:
        """Mark it inactive. Raises `NotFound`, and `BadRequest` while there are keys in it."""
        counted = sa.select(sa.func.count()).where(keys.c.region_id == region_id)
        async with self._store.change() as db:
            if count := await db.scalar(counted):
                raise BadRequest(f"Cannot delete region: {count} keys are in it. Delete them first.")
            update = regions.update().where(regions.c.id == region_id).values(is_active=False)
            if not (await db.execute(update)).rowcount:
                raise _no_region()

    async def dedicate(self, region_id: int, team_id: int) -> None:
        """Let a team use a dedicated region. Raises `NotFound`, `BadRequest`."""
        if not (await self.by_id(region_id)).is_dedicated:
            raise BadRequest("Can only associate teams with dedicated regions")
        row = {"region_id": region_id, "team_id": team_id, "created_at": self._store.clock()}
        insert = self._store.insert(region_teams).values(row).on_conflict_do_nothing()
        async with self._store.begin() as db:
            if not (await db.execute(insert)).rowcount:
                raise BadRequest("Team is already associated with this region")

    async def withdraw(self, region_id: int, team_id: int) -> None:
        """Take a dedicated region from a team; its keys there go on. Raises `NotFound`."""
        gone = region_teams.delete().where(
            region_teams.c.region_id == region_id, region_teams.c.team_id == team_id
        )
        async with self._store.begin() as db:
            if not (await db.execute(gone)).rowcount:
                raise NotFound("Team-region association not found")

    async def teams_of(self, region_id: int) -> list[int]:
        """The teams that may use a dedicated region. Raises `NotFound`."""
        await self.by_id(region_id)
        query = sa.select(region_teams.c.team_id).where(region_teams.c.region_id == region_id)
        async with self._store.connect() as db:
            return list((await db.execute(query.order_by(region_teams.c.team_id))).scalars())

    async def reseal(self, db: AsyncConnection) -> int:
        """Seal with the first key what was sealed with another; returns how many rows that were."""
        changed = 0
        for row in (await db.execute(sa.select(regions))).mappings():
            if any(self._box.outdated(row[f"{name}_sealed"]) for name in SECRETS):
                values = self._sealed(row["uuid"], {name: self._open(row, name) for name in SECRETS})
                await db.execute(regions.update().where(regions.c.id == row["id"]).values(values))
                changed += 1
        return changed

    def _sealed(self, row_uuid: str, values: Mapping[str, Any]) -> dict[str, Any]:
        row = {name: value for name, value in values.items() if name not in SECRETS}
        for name in SECRETS:
            if name in values:
                place = Place(regions.name, f"{name}_sealed", row_uuid)
                row[f"{name}_sealed"] = self._box.seal(values[name], place)
        return row

    def _open(self, row: sa.RowMapping, name: str) -> str:
        column = f"{name}_sealed"
        return self._box.open(row[column], Place(regions.name, column, row["uuid"]))

    def _region(self, row: sa.RowMapping) -> Region:
        values: dict[str, Any] = {name: row[name] for name in _PLAIN}
        values |= {name: self._open(row, name) for name in SECRETS}
        return Region(**values)


def _no_region() -> NotFound:
    return NotFound("Region not found")
