"""The gate's own secrets in what a backend answers: some quote its key in their errors, and callers must not see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..backends.content_coding import IDENTITY, AnswerDecoder, answer_decoder
from ..errors import AnswerCut

if TYPE_CHECKING:
    from ..errors import Header

MASK = b"*"
_OF_CODING = frozenset({b"content-encoding", b"content-length", b"etag"})
"""Headers of a compressed answer that are not true of it decoded."""


class Secrets:
    """What no caller may see, in every way of writing that answers have: as it is, in JSON, in a URL."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        spellings = {
            spelling
            for secret in secrets
            for spelling in (secret, secret.replace(b"/", rb"\/"), quote(secret, safe="").encode())
        }
        self.spellings = sorted(spellings, key=len, reverse=True)
        self.letters = frozenset(byte for spelling in spellings for byte in spelling)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.spellings)

    def masked(self, data: bytes) -> bytes:
        """`data` with `*` in the place of each byte of a secret: lengths stay as they are announced."""
        for secret in self.spellings:
            if secret in data:
                data = data.replace(secret, MASK * len(secret))
        return data

    def masked_headers(self, headers: list[Header]) -> list[Header]:
        """The same of headers' values."""
        return [(name, self.masked(value)) for name, value in headers] if self.spellings else headers


class Masker:
    """Masks what is fed to it piece by piece, wherever the pieces are cut; a `decoder` decodes it first."""

    __slots__ = ("_decoder", "_kept", "_secrets")

    def __init__(self, secrets: Secrets, decoder: AnswerDecoder | None = None) -> None:
        self._secrets = secrets
        self._decoder = decoder
        self._kept = b""

    @classmethod
    def of_answer(cls, secrets: Secrets, headers: list[Header]) -> tuple[list[Header], Masker | None]:
        """The headers as callers may see them, and what masks the body; None where there is nothing to hide.

        Backends are asked for plain answers where there is. What one compresses all the same goes out decoded.
        """
        if not secrets:
            return headers, None
        headers = secrets.masked_headers(headers)
        coding = next((value for name, value in headers if name.lower() == b"content-encoding"), b"")
        decoder = None if coding.strip().lower() in IDENTITY else answer_decoder(coding)
        if decoder is not None:
            headers = [pair for pair in headers if pair[0].lower() not in _OF_CODING]
        return headers, cls(secrets, decoder)

    def feed(self, data: bytes) -> bytes:
        """`data`, and what was kept before, without the end that may begin a secret.

        A piece that ends as events do, and has no secret in it, comes back as it is. Raises `AnswerCut` where it
        cannot be decoded.
        """
        if self._decoder is not None:
            data = b"".join(self._decoder.feed(data))
            if not self._decoder.is_sound:
                raise AnswerCut("it is not in the coding that it says")
        if self._kept:
            data = self._kept + data
            self._kept = b""
        data = self._secrets.masked(data)
        if not data or data[-1] not in self._secrets.letters:
            return data
        keep = max(_overlap(data, secret) for secret in self._secrets.spellings)
        if keep:
            self._kept = data[-keep:]
            return data[:-keep]
        return data

    def flush(self) -> bytes:
        """What was kept: nothing more comes."""
        kept, self._kept = self._kept, b""
        return kept


def _overlap(data: bytes, secret: bytes) -> int:
    """The length of the longest end of `data` that begins `secret`."""
    longest = min(len(data), len(secret) - 1)
    return next((size for size in range(longest, 0, -1) if secret.startswith(data[-size:])), 0)
