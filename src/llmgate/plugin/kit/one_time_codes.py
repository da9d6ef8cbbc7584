"""Codes and links by mail: each opens once, for a while, and after a few wrong tries not at all.

    table = one_time_secrets("my_plugin_secrets", metadata)
    codes = OneTimeCodes(store, table, purpose="sign in", key=box.derive("codes"))
    code = await codes.issue("ann@example.com")           # "7GK2QX0M", for the mail
    await codes.redeem("ann@example.com", "7gk2 qx0m")    # True, once

Only keyed hashes are stored: a copy of the database says neither which codes are out nor lets anybody
try them all at leisure.
"""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from ..api import Store

ALPHABET = string.ascii_uppercase + string.digits
LENGTH = 8
LIFETIME = 600.0
TRIES = 5
LINK_BYTES = 32

REMEMBERED = 7 * 86_400.0
"""Seconds for which a link that has expired is still known, so that its holder can be sent another."""


def one_time_secrets(name: str, metadata: sa.MetaData) -> sa.Table:
    """The table of a plugin's codes and links; the plugin's migration makes it."""
    return sa.Table(
        name,
        metadata,
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tries_left", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Index(f"ix_{name}_subject", "subject", "purpose"),
        sa.Index(f"ix_{name}_expires_at", "expires_at"),
    )


class Verdict(StrEnum):
    """What a code that somebody presents is worth."""

    GOOD = "good"
    WRONG = "wrong"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    """Too many wrong ones came before it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A code or link that is out. `expires_at` is in seconds since the epoch."""

    hash: str
    tries_left: int
    expires_at: float

    def judge(self, presented: str, now: float) -> Verdict:
        """What something that hashes to `presented` is worth at `now`; takes the same time for each."""
        same = hmac.compare_digest(self.hash, presented)
        if self.tries_left <= 0:
            return Verdict.EXHAUSTED
        if now >= self.expires_at:
            return Verdict.EXPIRED
        return Verdict.GOOD if same else Verdict.WRONG


def normalize(code: str) -> str:
    """A code as people type it: in either case, with spaces or a hyphen between."""
    return "".join(character for character in code.upper() if character in ALPHABET)


class OneTimeCodes:
    """Codes of `length` characters for subjects (an address, say). The newest replaces those before it.

    `lifetime` in seconds; `tries` wrong ones and the code is dead. `choose` picks a character.
    """

    def __init__(
        self,
        store: Store,
        table: sa.Table,
        *,
        purpose: str,
        key: bytes,
        lifetime: float = LIFETIME,
        tries: int = TRIES,
        length: int = LENGTH,
        choose: Callable[[str], str] = secrets.choice,
    ) -> None:
        self._store = store
        self._table = table
        self._purpose = purpose
        self._key = key
        self._lifetime = lifetime
        self._tries = tries
        self._length = length
        self._choose = choose

    async def issue(self, subject: str) -> str:
        """A new code for `subject`."""
        code = "".join(self._choose(ALPHABET) for _ in range(self._length))
        row = {
            "hash": self._hash(subject, code),
            "purpose": self._purpose,
            "subject": subject,
            "tries_left": self._tries,
            "expires_at": self._store.clock() + self._lifetime,
        }
        async with self._store.begin() as db:
            await self._store.serialize(db, f"one-time codes of {subject}")
            await db.execute(self._table.delete().where(self._of(subject)))
            await db.execute(self._table.insert().values(row))
        return code

    async def redeem(self, subject: str, code: str) -> bool:
        """Whether `code` is the one that is out for `subject`; it is not any more, then."""
        presented = self._hash(subject, normalize(code))
        query = sa.select(*self._table.c["hash", "tries_left", "expires_at"]).where(self._of(subject))
        async with self._store.begin() as db:  # one at a time: two that come at once must not both be good
            row = (await db.execute(query.with_for_update())).first()
            if row is None:
                return False
            verdict = Issued(*row).judge(presented, self._store.clock())
            if verdict is Verdict.WRONG:
                fewer = self._table.update().where(self._table.c.hash == row.hash)
                await db.execute(fewer.values(tries_left=self._table.c.tries_left - 1))
            elif verdict is Verdict.GOOD:
                await db.execute(self._table.delete().where(self._table.c.hash == row.hash))
            return verdict is Verdict.GOOD

    def _hash(self, subject: str, code: str) -> str:
        return keyed_hash(self._key, self._purpose, subject, code)

    def _of(self, subject: str) -> sa.ColumnElement[bool]:
        return (self._table.c.purpose == self._purpose) & (self._table.c.subject == subject)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Whom a link was for, and whether it came too late to open anything."""

    subject: str
    expired: bool


class OneTimeLinks:
    """Secrets for URLs, 256 random bits each: a subject may have several. They share a table with codes."""

    def __init__(self, store: Store, table: sa.Table, *, purpose: str, key: bytes) -> None:
        self._store = store
        self._table = table
        self._purpose = purpose
        self._key = key

    async def issue(self, subject: str, *, lifetime: float) -> str:
        """The secret of a new link for `subject`, good for `lifetime` seconds."""
        secret = secrets.token_urlsafe(LINK_BYTES)
        row = {
            "hash": self._hash(secret),
            "purpose": self._purpose,
            "subject": subject,
            "tries_left": 1,
            "expires_at": self._store.clock() + lifetime,
        }
        async with self._store.begin() as db:
            await db.execute(self._table.insert().values(row))
        return secret

    async def redeem(self, secret: str) -> Redeemed | None:
        """Whom `secret` was issued for; None if it never was, or was redeemed before."""
        gone = self._table.delete().where(
            self._table.c.hash == self._hash(secret), self._table.c.purpose == self._purpose
        )
        async with self._store.begin() as db:
            row: Any = (await db.execute(gone.returning(*self._table.c["subject", "expires_at"]))).first()
        if row is None:
            return None
        return Redeemed(row.subject, self._store.clock() >= row.expires_at)

    def _hash(self, secret: str) -> str:
        return keyed_hash(self._key, self._purpose, secret)


async def forget_expired(store: Store, table: sa.Table) -> int:
    """Delete what nobody can use any more; returns how many there were. For a periodic job."""
    async with store.begin() as db:
        gone = await db.execute(table.delete().where(table.c.expires_at < store.clock() - REMEMBERED))
        return gone.rowcount


def keyed_hash(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 (RFC 2104) of `parts`, each with its length before it, in hexadecimal."""
    encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
    return hmac.digest(key, b"".join(b"%d:%b" % (len(part), part) for part in encoded), "sha256").hex()
