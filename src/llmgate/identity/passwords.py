"""Passwords: their rules, and argon2id hashes that cost an attacker memory and time."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from ..errors import BadRequest
from .turns import Turns

MAX_PASSWORD_BYTES = 4096
"""Bytes over which a password is refused whatever the rules say: argon2 would have to digest all of it."""

MAX_MARKS = 30
"""Accents on one letter: no writing has more (UAX #15, D3), and to bring marks into their order takes as long as the
square of how many there are."""

LANES = 4
"""Threads of one hash (argon2's parallelism)."""
AT_ONCE = max(1, (os.cpu_count() or 1) // (2 * LANES))
"""Hashes computed side by side: log-ins leave half of the cores to those who have logged in."""


@dataclass(frozen=True, slots=True)
class PasswordRules:
    """What a new password must be: at least `min_length` characters, at most `max_bytes` of UTF-8."""

    min_length: int = 8
    max_bytes: int | None = None

    def check(self, password: str) -> None:
        """Raise `BadRequest` unless `password` may be set."""
        limit = MAX_PASSWORD_BYTES if self.max_bytes is None else min(self.max_bytes, MAX_PASSWORD_BYTES)
        if len(password) < max(self.min_length, 1):
            raise BadRequest(
                f"The password must have at least {max(self.min_length, 1)} characters.", param="password"
            )
        encoded = encode(password)
        if encoded is None and len(password) <= MAX_PASSWORD_BYTES:
            raise BadRequest("The password holds characters that are not text.", param="password")
        if encoded is None or len(encoded) > limit:
            raise BadRequest(f"The password must have at most {limit} bytes.", param="password")


NO_RULES = PasswordRules(min_length=1)
"""What every password must be all the same: text, and not endless."""


class Passwords:
    """Hashes and verifies, in threads (argon2 lets go of the interpreter), a few at once."""

    def __init__(
        self,
        rules: PasswordRules = PasswordRules(),
        *,
        hasher: PasswordHasher | None = None,
        at_once: int = AT_ONCE,
    ) -> None:
        self.rules = rules
        self._hasher = hasher or PasswordHasher()  # RFC 9106, second recommended option: 64 MiB, 3 passes
        self._turns = Turns(at_once)

    async def hash(self, password: str, *, client: str = "") -> str:
        """The hash to store, in PHC format, of a password that `rules` let through.

        `client` is on whose account it waits for its turn. Raises `RateLimited` and `Unavailable` as `Turns` does.
        """
        return await self._hash(encode(password) or b"", client)

    def turn(self, client: str = "") -> AbstractAsyncContextManager[None]:
        """A turn at hashing of `client`'s, for `verify_now`, and for what else must not come in between."""
        return self._turns.take(client)

    async def verify(self, stored: str | None, password: str, *, client: str = "") -> bool:
        """Whether `password` is the one that `stored` was made of. `client` as for `hash`."""
        async with self.turn(client):
            return await self.verify_now(stored, password)

    async def verify_now(self, stored: str | None, password: str) -> bool:
        """The same, for whoever has the turn.

        Without a hash (no such user, or one without a password) it takes as long and is False, so that
        the time of an answer does not tell who exists.
        """
        encoded = encode(password)
        if encoded is None or len(encoded) > MAX_PASSWORD_BYTES:
            stored, encoded = None, b""
        if stored is None:
            await asyncio.to_thread(self._hasher.hash, encoded)
            return False
        return await asyncio.to_thread(self._verify, stored, encoded)

    def outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than new hashes are."""
        return self._hasher.check_needs_rehash(stored)

    async def _hash(self, encoded: bytes, client: str) -> str:
        async with self._turns.take(client):
            return await asyncio.to_thread(self._hasher.hash, encoded)

    def _verify(self, stored: str, encoded: bytes) -> bool:
        try:
            return self._hasher.verify(stored, encoded)
        except (VerifyMismatchError, InvalidHashError):
            return False


def encode(password: str) -> bytes | None:
    """What is hashed: UTF-8 of Unicode's NFC, as keyboards differ (RFC 8265, 4.2).

    None if it is not text, or has too many characters or marks to be looked at.
    """
    if len(password) > MAX_PASSWORD_BYTES or _piles_marks(password):
        return None
    try:
        return unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        return None


def _piles_marks(text: str) -> bool:
    marks = 0
    for combining in () if text.isascii() else map(unicodedata.combining, text):
        marks = marks + 1 if combining else 0
        if marks > MAX_MARKS:
            return True
    return False
