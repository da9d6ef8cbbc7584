"""API keys: shown once, stored as a hash, verified in a microsecond, revoked at once."""

from __future__ import annotations

import math
import re
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import BadRequest, NotFound, Unauthenticated
from ..exchange import Principal
from ..store.schema import api_keys, memberships, organizations, user_roles, users
from .credential_cache import CredentialCache, digest
from .validation import name_of

if TYPE_CHECKING:
    from ..store import Store

PREFIX = "llmgate_"
RANDOM_BYTES = 32

LONGEST = 512
"""Characters over which a credential is not looked at."""

REMEMBERED = 10_000
"""Keys kept in memory, and as many bad ones, about 500 bytes each."""

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{0,64}")


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

    @property
    def masked(self) -> str:
        """How people tell their keys apart: `llmgate_...1a2b`."""
        return f"{self.prefix}...{self.last_four}"


_COLUMNS = api_keys.c[*Key.__dataclass_fields__]


class Keys:
    """The API keys in `store`."""

    def __init__(
        self, store: Store, *, new_id: Callable[[], object] = uuid.uuid4, remembered: int = REMEMBERED
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._proven = CredentialCache(store, remembered)
        self._used: dict[int, int] = {}

    async def create(
        self,
        user_id: int,
        name: str,
        *,
        prefix: str = PREFIX,
        organization_id: int | None = None,
        expires_at: float | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which nobody can read again: `prefix` and 64 hexadecimal digits.

        A key with an organization spends that organization's quotas and lasts no longer than the user's
        membership. Raises `BadRequest` for a bad name, prefix or time, `NotFound` if there is no such
        user, or the user is not a member of the organization.
        """
        now = self._store.clock()
        name = name_of("name", name)
        if not _PREFIX.fullmatch(prefix):
            raise BadRequest("The prefix must be at most 64 of A-Z a-z 0-9 _ . -", param="prefix")
        if expires_at is not None and not (math.isfinite(expires_at) and expires_at > now):
            raise BadRequest("The key must expire in the future.", param="expires_at")
        secret = prefix + secrets.token_hex(RANDOM_BYTES)
        row = {
            "uuid": str(self._new_id()),
            "user_id": user_id,
            "organization_id": organization_id,
            "name": name,
            "hash": digest(secret).hex(),
            "prefix": prefix,
            "last_four": secret[-4:],
            "created_at": now,
            "expires_at": expires_at,
        }
        async with self._store.begin() as conn:
            if not await conn.scalar(_owner(user_id, organization_id)):
                raise NotFound("There is no such user, or not in this organization.")
            created = await conn.execute(api_keys.insert().values(row).returning(*_COLUMNS))
            return Key(*created.one()), secret

    def cached(self, secret: str) -> Principal | None:
        """The principal of `secret`, if it was verified since anything last changed; None says nothing."""
        return self._proven.get(digest(secret))

    async def verify(self, secret: str) -> Principal:
        """Who `secret` belongs to.

        Raises `Unauthenticated` if it is unknown, expired or revoked, or its user, organization or
        membership is not there or not active any more. Costs at most one query by an index.
        """
        if len(secret) > LONGEST:
            raise _bad_key()
        key = digest(secret)
        known = self._proven.get(key)
        if known is not None:
            return known
        if self._proven.is_bad(key):
            raise _bad_key()
        stamp = self._proven.stamp()
        wanted = {"hashed": key.hex(), "now": self._store.clock()}
        async with self._store.connect() as conn:
            rows = (await conn.execute(_GOOD_KEY, wanted)).all()
        if not rows:
            self._proven.keep_bad(key, stamp)
            raise _bad_key()
        principal = _principal(rows)
        self._proven.keep(key, principal, rows[0].expires_at, stamp)
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

    async def revoke(self, key_id: int) -> Key:
        """Revoke a key for good, in every process at once, and return it. Raises `NotFound`."""
        revoked_at = sa.func.coalesce(api_keys.c.revoked_at, self._store.clock())
        update = api_keys.update().where(api_keys.c.id == key_id).values(revoked_at=revoked_at)
        async with self._store.change() as conn:
            row = (await conn.execute(update.returning(*_COLUMNS))).first()
            if row is None:
                raise NotFound("There is no such key.")
            return Key(*row)

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
        return Key(*row)

    async def _list(self, where: sa.ColumnElement[bool]) -> list[Key]:
        query = sa.select(*_COLUMNS).where(where, api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.id)
        async with self._store.connect() as conn:
            return [Key(*row) for row in await conn.execute(query)]


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


def _good_key() -> sa.Select[Any]:
    """One row for each role of the user of a key, or one without a role; none if the key is not good."""
    membership = sa.and_(
        memberships.c.user_id == api_keys.c.user_id,
        memberships.c.organization_id == api_keys.c.organization_id,
    )
    return (
        sa.select(*api_keys.c["id", "organization_id", "expires_at"], users.c.id.label("user_id"))
        .add_columns(users.c.username, user_roles.c.role)
        .join_from(api_keys, users, users.c.id == api_keys.c.user_id)
        .outerjoin(user_roles, user_roles.c.user_id == users.c.id)
        .outerjoin(organizations, organizations.c.id == api_keys.c.organization_id)
        .outerjoin(memberships, membership)
        .where(api_keys.c.hash == sa.bindparam("hashed"), api_keys.c.revoked_at.is_(None), users.c.is_active)
        .where(api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > sa.bindparam("now")))
        .where(
            api_keys.c.organization_id.is_(None)
            | (organizations.c.is_active & memberships.c.user_id.is_not(None))
        )
    )


# Built once: building it costs more than running it.
_GOOD_KEY = _good_key()


def _principal(rows: Sequence[sa.Row[Any]]) -> Principal:
    first = rows[0]
    roles = frozenset(row.role for row in rows if row.role is not None)
    return Principal(
        first.user_id, first.username, roles, key_id=first.id, organization_id=first.organization_id
    )


def _bad_key() -> Unauthenticated:
    return Unauthenticated("The API key is not valid, has expired or was revoked.")
