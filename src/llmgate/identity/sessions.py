"""Sessions: signed tokens (JWT, RFC 7519) that stand for a user who has signed in.

A token proves that this gate issued it; whether its session still holds is what the store says. So a
revoked session, a new password or a deactivated user ends every token at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import Forbidden, Unauthenticated
from ..exchange import Principal
from ..store.schema import sessions, user_roles, users
from .credential_cache import CredentialCache, digest
from .signing import Algorithm, SigningKeys

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store
    from .users import User

LIFETIME = 1800.0
MAX_AGE = 30 * 86_400.0
MAX_TOKEN_LENGTH = 8192
"""Characters over which a token is not looked at."""

REMEMBERED = 10_000
"""Sessions kept in memory, about 500 bytes each."""

# One row for each role of the session's user, or one without a role; none if the session does not hold.
# Built once: building it costs more than running it.
_GOOD_SESSION = (
    sa.select(sessions.c.expires_at, users.c.id, users.c.username, user_roles.c.role)
    .join_from(sessions, users)
    .outerjoin(user_roles)
    .where(sessions.c.id == sa.bindparam("session"), sessions.c.revoked_at.is_(None))
    .where(sessions.c.expires_at > sa.bindparam("now"))
    .where(users.c.uuid == sa.bindparam("user"), users.c.is_active)
)


_REFRESHABLE = (
    sa.select(
        sa.func.coalesce(sessions.c.began_at, sessions.c.created_at).label("began_at"),
        *users.c["uuid", "username"],
    )
    .join_from(sessions, users)
    .where(sessions.c.id == sa.bindparam("session"), sessions.c.revoked_at.is_(None))
    .where(sessions.c.expires_at > sa.bindparam("now"))
    .where(users.c.id == sa.bindparam("user"), users.c.is_active)
    .with_for_update(of=sessions)
)


@dataclass(frozen=True, slots=True)
class Session:
    """A session just begun: its id, the token to hand out, and when it ends (seconds since the epoch)."""

    id: str
    token: str = field(repr=False)
    expires_at: float


class Sessions:
    """The sessions in `store`. `issuer` is also the audience of the tokens.

    A session lasts for `lifetime` seconds and can be refreshed until `max_age` seconds after the log-in.
    """

    def __init__(
        self,
        store: Store,
        *,
        lifetime: float = LIFETIME,
        max_age: float = MAX_AGE,
        algorithm: Algorithm = "HS256",
        issuer: str = "llmgate",
        new_id: Callable[[], object] = uuid.uuid4,
        remembered: int = REMEMBERED,
    ) -> None:
        self._store = store
        self._lifetime = lifetime
        self._max_age = max_age
        self._issuer = issuer
        self._new_id = new_id
        self._keys = SigningKeys(store, algorithm, new_id)
        self._credential_cache = CredentialCache(store, remembered)

    async def issue(self, user: User, *, lifetime: float | None = None) -> Session:
        """Begin a session of `user`, who has just signed in, for `lifetime` seconds if not for the usual time."""
        now = self._store.clock()
        expires_at = now + (self._lifetime if lifetime is None else lifetime)
        async with self._store.begin() as conn:
            await conn.execute(sessions.delete().where(sessions.c.expires_at <= now))
            row = await self._insert(conn, user.id, began_at=now, expires_at=expires_at)
        return await self._signed(row, user.uuid, user.username)

    async def refresh(
        self, principal: Principal, *, lifetime: float | None = None, keep_old: bool = False
    ) -> Session:
        """A new session in place of the one that `principal` was proven by, which ends unless `keep_old`.

        It lasts no longer than `max_age` after the log-in, however often it is refreshed. Raises `Forbidden` for
        who has no session, and `Unauthenticated` where it has ended or is at its end.
        """
        if principal.session_id is None:
            raise Forbidden("Only a session can be refreshed. Log in.")
        now = self._store.clock()
        async with self._store.change() if not keep_old else self._store.begin() as conn:
            wanted = {"session": principal.session_id, "user": principal.user_id, "now": now}
            old = (await conn.execute(_REFRESHABLE, wanted)).first()
            if old is None or old.began_at + self._max_age <= now:
                raise _bad_token()
            if not keep_old:
                this = sessions.c.id == principal.session_id
                await conn.execute(sessions.update().where(this).values(revoked_at=now))
            ends = now + (self._lifetime if lifetime is None else lifetime)
            ends = min(ends, old.began_at + self._max_age)
            row = await self._insert(conn, principal.user_id, began_at=old.began_at, expires_at=ends)
        return await self._signed(row, old.uuid, old.username)

    async def _insert(
        self, conn: AsyncConnection, user_id: int, *, began_at: float, expires_at: float
    ) -> dict[str, Any]:
        row = {
            "id": str(self._new_id()),
            "user_id": user_id,
            "created_at": self._store.clock(),
            "expires_at": expires_at,
            "began_at": began_at,
        }
        await conn.execute(sessions.insert().values(row))
        return row

    async def _signed(self, row: Mapping[str, Any], user_uuid: str, username: str) -> Session:
        from . import tokens  # noqa: PLC0415 - 9 MB that a gate without sessions need not spend

        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": user_uuid,
            "username": username,
            "sid": row["id"],
            "iat": int(row["created_at"]),
            "exp": int(row["expires_at"]),
        }
        token = tokens.signed(claims, await self._keys.current())
        return Session(row["id"], token, row["expires_at"])

    def cached(self, token: str) -> Principal | None:
        """The principal of `token`, if it was verified since anything last changed; None says nothing."""
        if not _is_token(token):  # most credentials are API keys: hashing one for nothing takes longer
            return None
        return self._credential_cache.get(digest(token))

    async def verify(self, token: str) -> Principal | None:
        """Who `token` stands for; None if it is no token at all, but an API key, say.

        Raises `Unauthenticated` if it is not one of this gate's (foreign), or its session has expired, was revoked,
        or is that of a user who is not active.
        """
        if not _is_token(token):
            return None
        if len(token) > MAX_TOKEN_LENGTH:
            raise _bad_token(foreign=True)
        key = digest(token)
        known = self._credential_cache.get(key)
        if known is not None:
            return known
        stamp = self._credential_cache.stamp()
        claims = await self._decode(token)
        principal, expires_at = await self._session(claims["sid"], claims["sub"])
        self._credential_cache.keep(key, principal, expires_at, stamp)
        return principal

    async def revoke(self, session_id: str) -> None:
        """End a session; nothing happens if it has ended."""
        await self._end(sessions.c.id == session_id)

    async def revoke_all(self, user_id: int) -> None:
        """End every session of a user."""
        await self._end(sessions.c.user_id == user_id)

    async def rotate(self) -> None:
        """Sign with a new key from now on. Tokens that are out hold until they expire."""
        async with self._store.connect() as conn:
            latest = await conn.scalar(sa.select(sa.func.max(sessions.c.expires_at)))
        await self._keys.rotate(max(self._lifetime, (latest or 0.0) - self._store.clock()))

    async def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys that verify tokens, as a JSON Web Key Set (RFC 7517); none for HS256."""
        from . import tokens  # noqa: PLC0415 - as in `issue`

        await self._keys.current()
        now = self._store.clock()
        keys = (await self._keys.all()).values()
        return {"keys": [tokens.jwk(key) for key in keys if key.public is not None and not key.retired(now)]}

    async def _decode(self, token: str) -> dict[str, Any]:
        from . import tokens  # noqa: PLC0415 - as in `issue`

        try:
            kid = tokens.key_id(token)
        except tokens.BAD:
            raise _bad_token(foreign=True) from None
        key = None if kid is None else await self._keys.verifying(kid)
        if key is None:
            raise _bad_token(foreign=True)
        try:
            claims = tokens.verified(token, key, issuer=self._issuer)
        except tokens.BAD:
            raise _bad_token() from None
        if not all(isinstance(claims[name], str) and claims[name].isprintable() for name in ("sub", "sid")):
            raise _bad_token()
        return claims

    async def _session(self, session_id: str, user_uuid: str) -> tuple[Principal, float]:
        wanted = {"session": session_id, "user": user_uuid, "now": self._store.clock()}
        async with self._store.connect() as conn:
            rows = (await conn.execute(_GOOD_SESSION, wanted)).all()
        if not rows:
            raise _bad_token()
        roles = frozenset(row.role for row in rows if row.role is not None)
        first = rows[0]
        return Principal(first.id, first.username, roles, session_id=session_id), first.expires_at

    async def _end(self, which: sa.ColumnElement[bool]) -> None:
        ended = sessions.update().where(which, sessions.c.revoked_at.is_(None))
        async with self._store.change() as conn:
            await conn.execute(ended.values(revoked_at=self._store.clock()))


def _is_token(credential: str) -> bool:
    """Whether it looks like a JWT: three parts (RFC 7515, 3.1), the first a JSON object in base64url."""
    return credential.startswith("eyJ") and credential.count(".") == 2


def _bad_token(*, foreign: bool = False) -> Unauthenticated:
    message = "The session token is not valid or has expired."
    return Unauthenticated(message, code="invalid_token", foreign=foreign)
