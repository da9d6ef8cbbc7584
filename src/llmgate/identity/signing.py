"""The keys that sessions are signed with: made when first needed, kept in the store, replaced by rotation."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from ..store.schema import signing_keys
from ..store.stamped import Stamped

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..store import Store

Algorithm = Literal["HS256", "RS256"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key: `private` signs, `verifying` verifies. It verifies until `retires_at`, if that is set."""

    kid: str
    algorithm: str
    private: str = field(repr=False)
    public: str | None
    retires_at: float | None

    @property
    def verifying(self) -> str:
        """The half that verifies: the public one, or the only one where the algorithm is symmetric."""
        return self.private if self.public is None else self.public

    def retired(self, now: float) -> bool:
        """Whether it verifies no more."""
        return self.retires_at is not None and self.retires_at <= now


class SigningKeys:
    """The signing keys in `store`, of which the newest of `algorithm` signs."""

    def __init__(self, store: Store, algorithm: Algorithm, new_id: Callable[[], object]) -> None:
        self._store = store
        self._algorithm = algorithm
        self._new_id = new_id
        self._keys = Stamped(store, self._read_all)

    async def current(self) -> SigningKey:
        """The key to sign with, made now if there is none yet."""
        return self._signing(await self.all()) or await self._create(retiring=None)

    async def verifying(self, kid: str) -> SigningKey | None:
        """The key called `kid`, unless it is unknown or retired."""
        key = (await self._keys.get()).get(kid)
        return None if key is None or key.retired(self._store.clock()) else key

    async def rotate(self, keep: float) -> None:
        """Sign with a new key from now on; the present ones verify for `keep` more seconds."""
        await self._create(retiring=keep)

    async def all(self) -> dict[str, SigningKey]:
        """Every key by its id, newest last, as the store has them now."""
        return await self._keys.refresh()

    async def _read_all(self) -> dict[str, SigningKey]:
        async with self._store.connect() as conn:
            return await _read(conn)

    def _signing(self, keys: dict[str, SigningKey]) -> SigningKey | None:
        fit = [key for key in keys.values() if key.algorithm == self._algorithm and key.retires_at is None]
        return fit[-1] if fit else None

    async def _create(self, *, retiring: float | None) -> SigningKey:
        """A new key, unless (`retiring` is None) another process has just made one."""
        private, public = await asyncio.to_thread(_GENERATE[self._algorithm])
        now = self._store.clock()
        async with self._store.change() as conn:
            await self._store.serialize(conn, "signing_keys")
            present = self._signing(await _read(conn))
            if present is not None and retiring is None:
                return present
            if retiring is not None:
                await conn.execute(signing_keys.delete().where(signing_keys.c.retires_at <= now))
                signs = signing_keys.c.retires_at.is_(None)
                await conn.execute(signing_keys.update().where(signs).values(retires_at=now + retiring))
            key = SigningKey(str(self._new_id()), self._algorithm, private, public, None)
            row = {"kid": key.kid, "algorithm": key.algorithm, "private": private, "public": public}
            await conn.execute(signing_keys.insert().values(created_at=now, **row))
            return key


async def _read(conn: AsyncConnection) -> dict[str, SigningKey]:
    columns = signing_keys.c["kid", "algorithm", "private", "public", "retires_at"]
    rows = await conn.execute(sa.select(*columns).order_by(signing_keys.c.created_at, signing_keys.c.kid))
    return {row.kid: SigningKey(*row) for row in rows}


def _hs256() -> tuple[str, str | None]:
    return secrets.token_hex(32), None  # RFC 7518, 3.2: at least as many bits as the hash


def _rs256() -> tuple[str, str | None]:
    from cryptography.hazmat.primitives import serialization as ser  # noqa: PLC0415 - 10 MB
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key  # noqa: PLC0415

    key = generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    public = key.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


_GENERATE: dict[str, Callable[[], tuple[str, str | None]]] = {"HS256": _hs256, "RS256": _rs256}
