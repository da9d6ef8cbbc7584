"""Sealed secrets: what the gate has to show or use again, kept so that a copy of the database says nothing.

    box = SealedBox(["a long random text of the operator's"])
    row["password"] = box.seal(password, Place("regions", "password", region_uuid))
    box.open(row["password"], Place("regions", "password", region_uuid))

AES-256-GCM (NIST SP 800-38D) with a random nonce. The keys are derived from the operator's texts by
HKDF-SHA256 (RFC 5869). Table, column and row are authenticated with the secret, so that a sealed value
which somebody moves to another place of the database does not open there.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import GateError

MIN_LENGTH = 32
"""Characters of a key's text: 32 hexadecimal digits are the 128 bits that nobody can try out."""

_FORMAT = "1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_ID_BYTES = 4


class SealError(GateError):
    """A sealed value does not open: its key is not there any more, or it is not what was sealed here."""


class Place(NamedTuple):
    """Where a sealed value stands. `row` is a name that the row has for good and no other row ever gets."""

    table: str
    column: str
    row: str

    def encode(self) -> bytes:
        """The associated data: each part with its length before it, so that no two places read alike."""
        parts = [part.encode() for part in self]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    cipher: AESGCM
    text: bytes

    def derive(self, purpose: str, length: int = _KEY_BYTES) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=b"llmgate " + purpose.encode()).derive(self.text)


class SealedBox:
    """Seals with the first of `keys` and opens with any of them.

    To change the key, put a new one before the old, let everything that `outdated` tells of be sealed
    anew, and take the old one away. Raises `ValueError` without a key, or for one of less than 32 characters.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [_key(text) for text in keys]
        if not self._keys:
            raise ValueError("no key to seal secrets with")

    def __repr__(self) -> str:
        return f"SealedBox({[key.id for key in self._keys]})"

    def seal(self, secret: str, place: Place) -> str:
        """`secret` as it may be stored at `place`: printable, different at each call."""
        key, nonce = self._keys[0], os.urandom(_NONCE_BYTES)
        sealed = nonce + key.cipher.encrypt(nonce, secret.encode(), place.encode())
        return f"{self.current_prefix}{_encode(sealed)}"

    def open(self, sealed: str, place: Place) -> str:
        """The secret that was sealed at `place`. Raises `SealError`, which quotes nothing of it."""
        version, _, rest = sealed.partition(".")
        key_id, _, encoded = rest.partition(".")
        key = next((key for key in self._keys if key.id == key_id), None)
        where = f"{place.table}.{place.column} of {place.row}"
        if version != _FORMAT or key is None:
            raise SealError(f"{where}: sealed with a key that is not there (its id is {key_id[:8]!r})")
        try:
            raw = _decode(encoded)
            return key.cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError):
            raise SealError(f"{where}: not what was sealed there") from None

    def outdated(self, sealed: str) -> bool:
        """Whether `sealed` was not made with the first key."""
        return not sealed.startswith(self.current_prefix)

    @property
    def current_prefix(self) -> str:
        """How everything begins that is sealed with the first key: rows to seal anew do not."""
        return f"{_FORMAT}.{self._keys[0].id}."

    def derive(self, purpose: str) -> bytes:
        """256 bits for `purpose` alone, such as the key of a hash; others once the first key is another."""
        return self._keys[0].derive(f"for {purpose}")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def _decode(text: str) -> bytes:
    raw = base64.urlsafe_b64decode(text)
    if _encode(raw) != text:  # the decoder passes over what it does not know
        raise ValueError("not base64url")
    return raw


def _key(text: str) -> _Key:
    if len(text) < MIN_LENGTH:
        raise ValueError(f"a key to seal secrets with must have at least {MIN_LENGTH} characters")
    bare = _Key("", AESGCM(bytes(_KEY_BYTES)), text.encode())
    return _Key(bare.derive("key id", _ID_BYTES).hex(), AESGCM(bare.derive("seal")), bare.text)
