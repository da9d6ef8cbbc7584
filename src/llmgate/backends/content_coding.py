"""Content codings (RFC 9110 8.4): request bodies that come compressed, and answers that do though not asked to.

gzip, deflate and zstd (which Codex sends by itself). Everything is decoded within bounds.
"""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import zstandard

from ..errors import BadRequest, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

IDENTITY = frozenset({b"", b"identity"})
PIECE = 64 * 1024
"""Bytes of a decoded answer that are looked at together."""
MAX_MEMBERS = 16
"""Members of a gzip body, each of which may be empty: what is left is copied for each."""
_ZSTD_WINDOW = 8 * 1024 * 1024
"""Bytes: what RFC 8878 3.1.1.1.2 wants every decoder to take; more is refused."""
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_GZIP = b"\x1f\x8b"
_WRAPPER = 2
"""Bytes that tell gzip and zlib from neither."""


class UndecodableError(Exception):
    """The data is not what its coding says."""


def decode_request(body: bytes, coding: bytes, limit: int) -> bytes:
    """The body of a request that came in `coding`, of at most `limit` bytes.

    Raises `BadRequest` with 415 and Accept-Encoding (RFC 9110 15.5.16) for a coding that is not known here,
    with 400 for a body that is not in it, and `PayloadTooLarge`.
    """
    name = coding.strip().lower()
    if name in IDENTITY:
        return body
    decode = _REQUEST_CODINGS.get(name)
    if decode is None:
        accepted = ", ".join(known.decode() for known in _REQUEST_CODINGS if not known.startswith(b"x-"))
        raise BadRequest(
            f"Content-Encoding {name.decode('latin-1')} is not taken here; write {accepted}, or none.",
            status=415,
            headers=[(b"accept-encoding", accepted.encode())],
        )
    try:
        decoded = decode(body, limit + 1)
    except UndecodableError as error:
        raise BadRequest(f"body: not in {name.decode()} as Content-Encoding says: {error}") from error
    if len(decoded) > limit:
        raise PayloadTooLarge(f"The request body is over the limit of {limit} bytes when decoded.")
    return decoded


class AnswerDecoder:
    """Decodes an answer piece by piece, to be looked at; `is_sound` is False once it cannot be followed."""

    __slots__ = ("_head", "_inflate", "is_sound")

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None
        self._head = b""
        self.is_sound = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to, in pieces of at most `PIECE` bytes."""
        if self._inflate is None:
            self._head += data
            if len(self._head) < _WRAPPER:
                return
            data, self._head = self._head, b""
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB if _is_wrapped(data) else -zlib.MAX_WBITS)
        while data and self.is_sound:
            try:
                piece = self._inflate.decompress(data, PIECE)
            except zlib.error:
                self.is_sound = False
                return
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:  # another member may follow (RFC 1952 2.2)
                data, self._inflate = self._inflate.unused_data, zlib.decompressobj(_GZIP_OR_ZLIB)
            if piece:
                yield piece


def answer_decoder(coding: bytes) -> AnswerDecoder | None:
    """What follows an answer in `coding`; None for one that is not known here."""
    return AnswerDecoder() if coding.strip().lower() in (b"gzip", b"x-gzip", b"deflate") else None


def _is_wrapped(data: bytes) -> bool:
    """Whether `data` begins as gzip or zlib do; some servers send "deflate" without either (RFC 9110 8.4.1.2)."""
    return data.startswith(_GZIP) or (
        data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:_WRAPPER]) % 31 == 0
    )


def _inflate(body: bytes, most: int) -> bytes:
    pieces: list[bytes] = []
    while body and most > 0:
        if len(pieces) == MAX_MEMBERS:
            raise UndecodableError(f"over {MAX_MEMBERS} members")
        inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            piece = inflate.decompress(body, most)
        except zlib.error as error:
            raise UndecodableError(str(error)) from error
        pieces.append(piece)
        most -= len(piece)
        if not inflate.eof and most > 0:
            raise UndecodableError("it has no end")
        body = inflate.unused_data
    return b"".join(pieces)


def _unzstd(body: bytes, most: int) -> bytes:
    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(
        body, read_across_frames=True
    )
    try:
        return bytes(reader.read(most))
    except zstandard.ZstdError as error:
        raise UndecodableError(str(error)) from error


_REQUEST_CODINGS: Mapping[bytes, Callable[[bytes, int], bytes]] = MappingProxyType(
    {b"gzip": _inflate, b"x-gzip": _inflate, b"deflate": _inflate, b"zstd": _unzstd}
)
