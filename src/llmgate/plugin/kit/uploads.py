"""Uploads: streamed to disk, measured and checked, and there only when they are whole.

A file is written under a hidden name, readable for its owner alone, and renamed to its checksum when its last byte
is safe: the same content is stored once, whoever uploads it. One that ends early leaves nothing and may simply
start again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..api import AnyCall, BadRequest, ClientGone, PayloadTooLarge, Unavailable
from .multipart import FileForm

if TYPE_CHECKING:
    from ..api import Clock

log = logging.getLogger("llmgate")

BLOCK_BYTES = 1024 * 1024
"""Collected for one write."""
MAX_FORM_BYTES = 64 * 1024
"""That a form may have around its file."""
PART = ".part"
ABANDONED_S = 86_400.0
"""After so long a part that nobody wrote to was left by a process that died."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it was stored: `size` in bytes, `sha256` in hexadecimal digits."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Uploads:
    """Takes files of at most `max_bytes` into `folder`, as `SHA256` and `suffix`.

    `magic` is how every file of the kind begins; what begins otherwise is refused as no `kind`.
    """

    folder: Path
    max_bytes: int
    suffix: str
    magic: bytes = b""
    kind: str = "file of this kind"

    async def receive(self, call: AnyCall) -> StoredFile:
        """The file of a `multipart/form-data` body, in its field `file`.

        Raises `BadRequest`, `PayloadTooLarge`, `ClientGone`, and `Unavailable` where it cannot be stored.
        """
        try:
            return await self._receive(call)
        except OSError as error:
            log.exception("request %s: the upload could not be stored", call.exchange.id)
            raise Unavailable("The file cannot be stored at the moment. Try again later.") from error

    async def _receive(self, call: AnyCall) -> StoredFile:
        form = FileForm(call.header("content-type") or "")
        announced = call.header("content-length")
        if announced is not None and int(announced) > self.max_bytes + MAX_FORM_BYTES:
            raise self._too_large()
        received, more = 0, True
        async with Part(self) as part:
            while more:
                message = await call.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                data, more = message.get("body", b""), message.get("more_body", False)
                received += len(data)
                for piece in form.feed(data):
                    await part.write(piece)
                if part.size > self.max_bytes or received > self.max_bytes + MAX_FORM_BYTES:
                    raise self._too_large()
            form.end()
            return await part.keep()

    def sweep(self, clock: Clock) -> None:
        """Delete what uploads left behind whose process died. Others that are under way are younger."""
        for part in self.folder.glob(f".*{PART}"):
            with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
                if part.stat().st_mtime < clock() - ABANDONED_S:
                    part.unlink()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The file is over the limit of {self.max_bytes} bytes.")


class Part:
    """A file that is being written: gone when the block is left, unless it was kept. Raises `OSError`."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._path = uploads.folder / f".{uuid.uuid4().hex}{PART}"
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self.size = 0

    async def __aenter__(self) -> Self:
        self._uploads.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append `data`. Raises `BadRequest` as soon as it is clear that this is no file of the kind."""
        self.size += len(data)
        self._block += data
        if len(self._block) >= BLOCK_BYTES:
            await self._flush()

    async def keep(self) -> StoredFile:
        """The file is whole: give it its name. Raises `BadRequest` as `write` does."""
        await self._flush()
        await asyncio.to_thread(self._finish)
        return StoredFile(self.size, self._digest.hexdigest())

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        if self.size == len(block) and not block.startswith(self._uploads.magic):
            raise BadRequest(f"The file is not a {self._uploads.kind}.")
        await asyncio.to_thread(self._append, block)

    def _append(self, block: bytearray) -> None:
        self._digest.update(block)
        self._file.write(block)

    def _finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self._uploads.folder / f"{self._digest.hexdigest()}{self._uploads.suffix}")
