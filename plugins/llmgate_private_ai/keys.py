"""Private AI keys in the store: the rows, and what of them is sealed.

A row is there before anything is made outside, and goes after everything is gone: so whatever kills the
gate in between, the row says what there may be (see `key_saga`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from llmgate.plugin.api import NotFound, Place, memberships_table

from .plans import Counted
from .roles import Reach
from .tables import keys, regions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from llmgate.plugin.api import SealedBox, Store

    from .access import Caller


class State(StrEnum):
    """How far a key is."""

    CREATING = "creating"
    LIVE = "live"
    DELETING = "deleting"
    ABANDONED = "abandoned"
    """Its creation has failed; nobody has seen it."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key as stored, with what it is called where it lies; its secrets do not show.

    Money in millionths, times in seconds since the epoch. Without `token` it is a database alone, without
    `database_name` a token alone. `owner_team_id` is the team that its owner is in.
    """

    id: int
    uuid: str
    name: str
    region_id: int
    owner_id: int | None
    team_id: int | None
    owner_team_id: int | None
    state: str
    attempts: int
    api_key_id: int | None
    database_name: str | None
    database_username: str | None
    max_budget: int | None
    budget_duration: str | None
    budget_started_at: float | None
    rpm_limit: int | None
    expires_at: float | None
    created_at: float
    updated_at: float
    region_name: str
    region_label: str | None
    database_host: str
    database_port: int
    token: str | None = field(repr=False)
    database_password: str | None = field(repr=False)

    @property
    def payer(self) -> int | None:
        """The team whose plan and trial hold for it."""
        return self.team_id if self.team_id is not None else self.owner_team_id


_OWNERS = memberships_table.alias("owners")
_PLAIN = [
    *("id", "uuid", "name", "region_id", "owner_id", "team_id", "state", "attempts", "api_key_id"),
    *("database_name", "database_username", "max_budget", "budget_duration", "budget_started_at"),
    *("rpm_limit", "expires_at"),
    *("created_at", "updated_at"),
]
_SEALED = ("token", "database_password")
_KEYS: sa.Select[Any] = (
    sa.select(
        *keys.c[*_PLAIN],
        *(keys.c[f"{name}_sealed"] for name in _SEALED),
        _OWNERS.c.organization_id.label("owner_team_id"),
        regions.c.name.label("region_name"),
        regions.c.label.label("region_label"),
        regions.c.postgres_host.label("database_host"),
        regions.c.postgres_port.label("database_port"),
    )
    .join(regions, regions.c.id == keys.c.region_id)
    .outerjoin(_OWNERS, _OWNERS.c.user_id == keys.c.owner_id)
)

_SEEN = keys.c.state.in_((State.LIVE, State.DELETING))


class Keys:
    """The keys in `store`. What takes `db` is a part of the caller's transaction."""

    def __init__(self, store: Store, box: SealedBox) -> None:
        self._store = store
        self._box = box

    async def insert(self, db: AsyncConnection, row_uuid: str, values: dict[str, Any]) -> int:
        """A new row, in the state `creating`; `values` has the secrets in clear. Returns its id."""
        now = self._store.clock()
        row = {
            **{name: value for name, value in values.items() if name not in _SEALED},
            "uuid": row_uuid,
            "state": State.CREATING,
            "attempts": 0,
            "created_at": now,
            "updated_at": now,
        }
        for name in _SEALED:
            if values.get(name) is not None:
                row[f"{name}_sealed"] = self._box.seal(values[name], _place(name, row_uuid))
        if values.get("token") is not None:
            row["token_hash"] = token_hash(values["token"])
        key_id: int | None = await db.scalar(keys.insert().values(row).returning(keys.c.id))
        assert key_id is not None
        return key_id

    async def by_id(self, key_id: int) -> PrivateKey:
        """The key with this id, unless it is still being made, or was given up. Raises `NotFound`."""
        return await self._one(keys.c.id == key_id, _SEEN)

    async def by_token(self, token: str) -> PrivateKey:
        """The key whose LLM token this is, expired or not. Raises `NotFound`."""
        return await self._one(keys.c.token_hash == token_hash(token), keys.c.state == State.LIVE)

    async def seen_by(
        self, caller: Caller, reach: Reach, *, owner_id: int | None = None, team_id: int | None = None
    ) -> list[PrivateKey]:
        """What `caller` sees of the keys, or of those of one owner or one team and its members; oldest first."""
        conditions: list[sa.ColumnElement[bool]] = [_SEEN]
        if reach is not Reach.ALL:
            conditions.append(_within(caller, reach))
        if owner_id is not None:
            conditions.append(keys.c.owner_id == owner_id)
        if team_id is not None:
            conditions.append(_of_team(team_id))
        return await self._many(*conditions)

    async def of_team(self, db: AsyncConnection, team_id: int) -> list[PrivateKey]:
        """All keys of a team and its members, those that are being made too."""
        return self._opened(await db.execute(_KEYS.where(_of_team(team_id))))

    async def count_in_team(self, db: AsyncConnection, team_id: int) -> int:
        """How many there are."""
        return len(await self.of_team(db, team_id))

    async def counted(self, db: AsyncConnection, *, team_id: int | None, owner_id: int | None) -> Counted:
        """What counts against the plan of a team, or of a user in none; with the owner's share."""
        mine = _of_team(team_id) if team_id is not None else keys.c.owner_id == owner_id
        kept = keys.c.state.in_((State.CREATING, State.LIVE))
        rows = (await db.execute(_KEYS.where(mine, kept))).mappings().all()
        tokens = [row for row in rows if row["api_key_id"] is not None]
        return Counted(
            tokens=len(tokens),
            users_tokens=sum(owner_id is not None and row["owner_id"] == owner_id for row in tokens),
            service_tokens=sum(row["team_id"] is not None for row in tokens),
            databases=sum(row["database_name"] is not None for row in rows),
        )

    async def set_state(self, db: AsyncConnection, key_id: int, state: State, due_at: float) -> None:
        """Bring a key to `state`; a job takes the next step at `due_at`."""
        await self.update(db, key_id, state=state, due_at=due_at)

    async def made(self, db: AsyncConnection, key_id: int) -> bool:
        """A key has everything; False if somebody has given it up meanwhile."""
        here = (keys.c.id == key_id) & (keys.c.state == State.CREATING)
        values = {"state": State.LIVE, "due_at": None, "updated_at": self._store.clock()}
        return bool((await db.execute(keys.update().where(here).values(values))).rowcount)

    async def update(self, db: AsyncConnection, key_id: int, **values: Any) -> None:
        """Change terms of a key."""
        values["updated_at"] = self._store.clock()
        await db.execute(keys.update().where(keys.c.id == key_id).values(values))

    async def remove(self, db: AsyncConnection, key_id: int) -> None:
        """Forget a key of which nothing is left."""
        await db.execute(keys.delete().where(keys.c.id == key_id))

    async def due(self) -> Sequence[PrivateKey]:
        """Those whose creation was cut or whose deletion has not come to its end, the longest waiting first."""
        waiting = keys.c.due_at <= self._store.clock()
        async with self._store.connect() as db:
            return self._opened(await db.execute(_KEYS.where(waiting).order_by(keys.c.due_at).limit(100)))

    async def all(self) -> list[PrivateKey]:
        """Every key, those that are being made too."""
        return await self._many()

    async def reseal(self, db: AsyncConnection) -> int:
        """Seal with the first key what was sealed with another; returns how many rows that were."""
        changed = 0
        columns = [f"{name}_sealed" for name in _SEALED]
        old = sa.or_(
            *(~keys.c[column].startswith(self._box.current_prefix, autoescape=True) for column in columns)
        )
        for row in (await db.execute(sa.select(*keys.c["id", "uuid", *columns]).where(old))).mappings():
            opened = {name: self._open(row, name) for name in _SEALED}
            values = {
                f"{name}_sealed": self._box.seal(secret, _place(name, row["uuid"]))
                for name, secret in opened.items()
                if secret is not None
            }
            await db.execute(keys.update().where(keys.c.id == row["id"]).values(values))
            changed += 1
        return changed

    async def _one(self, *where: sa.ColumnElement[bool]) -> PrivateKey:
        found = await self._many(*where)
        if not found:
            raise no_key()
        return found[0]

    async def _many(self, *where: sa.ColumnElement[bool]) -> list[PrivateKey]:
        async with self._store.connect() as db:
            return self._opened(await db.execute(_KEYS.where(*where).order_by(keys.c.id)))

    def _opened(self, rows: sa.CursorResult[Any]) -> list[PrivateKey]:
        found = []
        for row in rows.mappings():
            values: dict[str, Any] = {name: self._open(row, name) for name in _SEALED}
            plain = {name: value for name, value in row.items() if not name.endswith("_sealed")}
            found.append(PrivateKey(**plain, **values))
        return found

    def _open(self, row: sa.RowMapping, name: str) -> str | None:
        sealed = row[f"{name}_sealed"]
        return None if sealed is None else self._box.open(sealed, _place(name, row["uuid"]))


def token_hash(token: str) -> str:
    """By what a token is found: it is 256 random bits, of which a hash gives nothing away."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def no_key() -> NotFound:
    """The refusal of a key that is not there, or not for the caller to see."""
    return NotFound("Private AI Key not found")


def _within(caller: Caller, reach: Reach) -> sa.ColumnElement[bool]:
    """The rows that `Caller.may` would say yes to."""
    own = keys.c.owner_id == caller.id
    if caller.team_id is None or reach is Reach.OWN:
        return own
    shared = own | (keys.c.team_id == caller.team_id)
    return shared | (_OWNERS.c.organization_id == caller.team_id) if reach is Reach.TEAM else shared


def _of_team(team_id: int) -> sa.ColumnElement[bool]:
    return (keys.c.team_id == team_id) | (_OWNERS.c.organization_id == team_id)


def _place(name: str, row_uuid: str) -> Place:
    return Place(keys.name, f"{name}_sealed", row_uuid)
