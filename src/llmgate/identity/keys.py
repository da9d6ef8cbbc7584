"""API keys: shown once, stored as a hash, verified in a microsecond, revoked at once."""

from __future__ import annotations

import math
import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import BadRequest, Conflict, NotFound, Unauthenticated
from ..exchange import Principal
from ..permissions import Permissions, decode, encode
from ..store.schema import api_keys, memberships, organizations, user_roles, users
from .credential_cache import CredentialCache, digest
from .new_keys import NewKey, Scope, limits_of, rate_of, service_user
from .validation import name_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

    Also = Callable[[AsyncConnection, "Key", str], Awaitable[object]]

PREFIX = "llmgate_"
RANDOM_BYTES = 32

MAX_CREDENTIAL_LENGTH = 512
"""Characters over which a credential is not looked at."""

REMEMBERED = 10_000
"""Keys kept in memory, and as many bad ones, about 500 bytes each."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as stored, without its secret. Times are seconds since the epoch."""

    id: int
    uuid: str
    user_id: int
    organization_id: int | None
    name: str
    prefix: str
    last_four: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    uses: int
    scope: str | None = None
    """What it is good for: "account", "models", or None for everything."""
    requests_per_minute: int | None = None
    permissions: Permissions | None = None
    """What else was said of it; None: as everybody."""

    @property
    def masked(self) -> str:
        """How people tell their keys apart: `llmgate_...1a2b`."""
        return f"{self.prefix}...{self.last_four}"


_COLUMNS = api_keys.c[*Key.__dataclass_fields__]


def _key(row: Sequence[Any]) -> Key:
    """Of a row of `_COLUMNS`."""
    values = dict(zip(Key.__dataclass_fields__, row, strict=True))
    return Key(**{**values, "permissions": decode(values["permissions"])})


class Keys:
    """The API keys in `store`."""

    def __init__(
        self, store: Store, *, new_id: Callable[[], object] = uuid.uuid4, remembered: int = REMEMBERED
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._credential_cache = CredentialCache(store, remembered)
        self._used: dict[int, int] = {}

    async def create(
        self,
        user_id: int,
        name: str,
        *,
        prefix: str = PREFIX,
        organization_id: int | None = None,
        expires_at: float | None = None,
        scope: Scope | None = None,
        requests_per_minute: int | None = None,
        permissions: Permissions | None = None,
        maker: Principal | None = None,
        also: Also | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again: `prefix` and 64 hexadecimal digits.

        A key with an organization spends that organization's quotas and lasts no longer than the user's
        membership. `scope` says what it is good for, `requests_per_minute` how often, `permissions` the rest.
        Where `maker` was proven by a key, the new one gets no further than that one: see `limits_of`. `also` writes
        what the key must never be without, a quota for example, in the same transaction; it gets the key and its
        secret.

        Raises `BadRequest` for a bad name, prefix, limit or time, `Forbidden` for more than the maker has,
        `NotFound` if there is no such user, or the user is not a member of the organization.
        """
        wanted = NewKey(name, prefix, organization_id, expires_at, scope, requests_per_minute, permissions)
        async with self._store.begin() as conn:
            if not await conn.scalar(_owner(user_id, organization_id)):
                raise NotFound("There is no such user, or not in this organization.")
            if maker is not None and maker.key_id is not None:
                wanted = await limits_of(conn, maker.key_id, wanted)
            return await self._insert(conn, user_id, wanted, also)

    async def create_for_organization(
        self,
        organization_id: int,
        name: str,
        *,
        prefix: str = PREFIX,
        expires_at: float | None = None,
        scope: Scope | None = None,
        requests_per_minute: int | None = None,
        permissions: Permissions | None = None,
        also: Also | None = None,
    ) -> tuple[Key, str]:
        """A new key of the organization itself, which outlives whoever made it, and its secret.

        It stands for a user of its own, whom nobody else is and who is in no list. Raises as `create` does.
        """
        wanted = NewKey(name, prefix, organization_id, expires_at, scope, requests_per_minute, permissions)
        async with self._store.begin() as conn:
            user_id = await service_user(self._store, conn, organization_id, self._new_id)
            return await self._insert(conn, user_id, wanted, also)

    async def _insert(
        self, conn: AsyncConnection, user_id: int, wanted: NewKey, also: Also | None
    ) -> tuple[Key, str]:
        secret = wanted.prefix + secrets.token_hex(RANDOM_BYTES)
        key = await self._write(conn, user_id, wanted, hashed=digest(secret).hex(), last_four=secret[-4:])
        if also is not None:
            await also(conn, key, secret)
        return key, secret

    async def _write(
        self, conn: AsyncConnection, user_id: int, wanted: NewKey, *, hashed: str, last_four: str
    ) -> Key:
        now = self._store.clock()
        row = {
            "uuid": str(self._new_id()),
            "user_id": user_id,
            "hash": hashed,
            "last_four": last_four,
            "created_at": now,
            **wanted.checked(now),
        }
        created = await conn.execute(api_keys.insert().values(row).returning(*_COLUMNS))
        return _key(created.one())

    async def adopt(
        self,
        hashed: str,
        name: str,
        *,
        user_id: int | None,
        organization_id: int | None = None,
        prefix: str = "",
        last_four: str = "",
        expires_at: float | None = None,
        requests_per_minute: int | None = None,
        permissions: Permissions | None = None,
        also: Also | None = None,
    ) -> Key:
        """A key that somebody else has given out, of which only the SHA-256 (64 hexadecimal digits) is known.

        `prefix` and `last_four` are how people tell it from others. Without a user it is one of the organization
        itself. Raises as `create` does, and `Conflict` for a key that is here, revoked or not.
        """
        wanted = NewKey(name, prefix, organization_id, expires_at, None, requests_per_minute, permissions)
        async with self._store.change() as conn:  # whoever tried it before it came is no stranger any more
            if await conn.scalar(sa.select(api_keys.c.id).where(api_keys.c.hash == hashed)):
                raise Conflict("This key is here already.")
            if user_id is None:
                assert organization_id is not None, "a key belongs to somebody"
                user_id = await service_user(self._store, conn, organization_id, self._new_id)
            elif not await conn.scalar(_owner(user_id, organization_id)):
                raise NotFound("There is no such user, or not in this organization.")
            key = await self._write(conn, user_id, wanted, hashed=hashed, last_four=last_four)
            if also is not None:
                await also(conn, key, "")
            return key

    async def by_hash(self, hashed: str) -> Key | None:
        """The key with this SHA-256, revoked or not; None if there is none."""
        async with self._store.connect() as conn:
            row = (await conn.execute(sa.select(*_COLUMNS).where(api_keys.c.hash == hashed))).first()
        return None if row is None else _key(row)

    def cached(self, secret: str) -> Principal | None:
        """The principal of `secret`, if it was verified since anything last changed; None says nothing."""
        return self._credential_cache.get(digest(secret))

    async def verify(self, secret: str) -> Principal:
        """Who `secret` belongs to.

        Raises `Unauthenticated` if it is unknown (foreign), expired or revoked, or its user, organization or
        membership is not there or not active any more. Costs at most one query by an index.
        """
        if len(secret) > MAX_CREDENTIAL_LENGTH:
            raise _bad_key(foreign=True)
        key = digest(secret)
        known = self._credential_cache.get(key)
        if known is not None:
            return known
        if (foreign := self._credential_cache.bad(key)) is not None:
            raise _bad_key(foreign=foreign)
        stamp = self._credential_cache.stamp()
        wanted = {"hashed": key.hex(), "now": self._store.clock()}
        async with self._store.connect() as conn:
            rows = (await conn.execute(_GOOD_KEY, wanted)).all()
        if not rows or not rows[0].good:
            self._credential_cache.keep_bad(key, stamp, foreign=not rows)
            raise _bad_key(foreign=not rows)
        principal = _principal(rows)
        ends = [at for at in (rows[0].expires_at, rows[0].organization_expires_at) if at is not None]
        self._credential_cache.keep(key, principal, min(ends, default=None), stamp)
        return principal

    async def by_id(self, key_id: int) -> Key:
        """The key with this id, revoked or not. Raises `NotFound`."""
        return await self._find(api_keys.c.id == key_id)

    async def by_uuid(self, uuid: str) -> Key:
        """The key with this UUID, revoked or not. Raises `NotFound`."""
        return await self._find(api_keys.c.uuid == uuid)

    async def of_user(self, user_id: int) -> list[Key]:
        """The keys of a user that are not revoked, oldest first."""
        return await self._list(api_keys.c.user_id == user_id)

    async def of_organization(self, organization_id: int) -> list[Key]:
        """The keys of an organization that are not revoked, oldest first."""
        return await self._list(api_keys.c.organization_id == organization_id)

    async def all(self) -> list[Key]:
        """Every key that is not revoked, oldest first."""
        return await self._list(sa.true())

    async def revoke(self, key_id: int, *, db: AsyncConnection | None = None) -> Key:
        """Revoke a key for good, in every process at once, and return it. Raises `NotFound`.

        This and the changes below may be part of `db`, a `Store.change` that the caller has open.
        """
        revoked_at = sa.func.coalesce(api_keys.c.revoked_at, self._store.clock())
        update = api_keys.update().where(api_keys.c.id == key_id).values(revoked_at=revoked_at)
        async with self._store.change(db) as conn:
            row = (await conn.execute(update.returning(*_COLUMNS))).first()
            if row is None:
                raise NotFound("There is no such key.")
            return _key(row)

    async def set_expiry(
        self, key_id: int, expires_at: float | None, *, db: AsyncConnection | None = None
    ) -> Key:
        """Let a key end at another time, or (None) never; a time that has passed ends it at once.

        Raises `BadRequest` for a time that is none, `NotFound` for a key that is not there or was revoked.
        """
        if expires_at is not None and not math.isfinite(expires_at):
            raise BadRequest("The key must expire at some time.", param="expires_at")
        return await self._change(db, key_id, expires_at=expires_at)

    async def set_requests_per_minute(
        self, key_id: int, limit: int | None, *, db: AsyncConnection | None = None
    ) -> Key:
        """Limit a key by itself, or (None) not. Raises `BadRequest`, `NotFound`."""
        return await self._change(db, key_id, requests_per_minute=rate_of(limit))

    async def set_permissions(
        self, key_id: int, permissions: Permissions, *, db: AsyncConnection | None = None
    ) -> Key:
        """Hold a key to these, in every process at once. Raises `BadRequest`, `NotFound`."""
        return await self._change(db, key_id, permissions=encode(permissions.checked()))

    async def rename(self, key_id: int, name: str, *, db: AsyncConnection | None = None) -> Key:
        """Give a key another name. Raises `BadRequest`, `NotFound`."""
        return await self._change(db, key_id, name=name_of("name", name))

    async def _change(self, db: AsyncConnection | None, key_id: int, **values: object) -> Key:
        open_one = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
        update = api_keys.update().where(open_one).values(**values)
        async with self._store.change(db) as conn:
            row = (await conn.execute(update.returning(*_COLUMNS))).first()
            if row is None:
                raise NotFound("There is no such key.")
            return _key(row)

    def touch(self, key_id: int) -> None:
        """Note that a key was used; `flush` writes it down."""
        self._used[key_id] = self._used.get(key_id, 0) + 1

    async def flush(self) -> None:
        """Write down the uses noted so far, in one transaction. On an error they stay noted."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._store.begin() as conn:
                now = self._store.clock()
                # Sorted, as two workers that update the same rows in other orders would block each other.
                counted = [{"used_id": key, "count": used[key], "now": now} for key in sorted(used)]
                await conn.execute(_COUNT_USES, counted)
        except BaseException:
            for key_id, count in used.items():
                self._used[key_id] = self._used.get(key_id, 0) + count
            raise

    async def _find(self, where: sa.ColumnElement[bool]) -> Key:
        async with self._store.connect() as conn:
            row = (await conn.execute(sa.select(*_COLUMNS).where(where))).first()
        if row is None:
            raise NotFound("There is no such key.")
        return _key(row)

    async def _list(self, where: sa.ColumnElement[bool]) -> list[Key]:
        query = sa.select(*_COLUMNS).where(where, api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.id)
        async with self._store.connect() as conn:
            return [_key(row) for row in await conn.execute(query)]


_COUNT_USES = (
    api_keys.update()
    .where(api_keys.c.id == sa.bindparam("used_id"))
    .values(uses=api_keys.c.uses + sa.bindparam("count"), last_used_at=sa.bindparam("now"))
)


def _owner(user_id: int, organization_id: int | None) -> sa.Select[Any]:
    query = sa.select(users.c.id).where(users.c.id == user_id)
    if organization_id is not None:
        member = memberships.c.organization_id == organization_id
        query = query.join(memberships, memberships.c.user_id == users.c.id).where(member)
    return query


def _lasts(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.expires_at.is_(None) | (table.c.expires_at > sa.bindparam("now"))


def _good_key() -> sa.Select[Any]:
    """One row for each role of the user of a key, or one without a role, with whether it is good; none if unknown."""
    membership = sa.and_(
        memberships.c.user_id == api_keys.c.user_id,
        memberships.c.organization_id == api_keys.c.organization_id,
    )
    of_itself = organizations.c.is_active & (
        memberships.c.user_id.is_not(None) | (users.c.service_of == organizations.c.id)
    )
    good = sa.and_(
        api_keys.c.revoked_at.is_(None),
        users.c.is_active,
        _lasts(api_keys),
        _lasts(organizations),
        api_keys.c.organization_id.is_(None) | sa.func.coalesce(of_itself, sa.false()),
    )
    return (
        sa.select(
            *api_keys.c["id", "organization_id", "expires_at", "scope", "requests_per_minute", "permissions"]
        )
        .add_columns(
            organizations.c.expires_at.label("organization_expires_at"),
            organizations.c.requests_per_minute.label("organization_requests_per_minute"),
            organizations.c.permissions.label("organization_permissions"),
        )
        .add_columns(users.c.id.label("user_id"), users.c.username, user_roles.c.role, good.label("good"))
        .join_from(api_keys, users, users.c.id == api_keys.c.user_id)
        .outerjoin(user_roles, user_roles.c.user_id == users.c.id)
        .outerjoin(organizations, organizations.c.id == api_keys.c.organization_id)
        .outerjoin(memberships, membership)
        .where(api_keys.c.hash == sa.bindparam("hashed"))
    )


# Built once: building it costs more than running it.
_GOOD_KEY = _good_key()


def _principal(rows: Sequence[sa.Row[Any]]) -> Principal:
    first = rows[0]
    roles = frozenset(row.role for row in rows if row.role is not None)
    return Principal(
        first.user_id,
        first.username,
        roles,
        key_id=first.id,
        organization_id=first.organization_id,
        scope=first.scope,
        requests_per_minute=first.requests_per_minute,
        organization_requests_per_minute=first.organization_requests_per_minute,
        key_may=decode(first.permissions),
        organization_may=decode(first.organization_permissions),
    )


def _bad_key(*, foreign: bool) -> Unauthenticated:
    return Unauthenticated("The API key is not valid, has expired or was revoked.", foreign=foreign)
