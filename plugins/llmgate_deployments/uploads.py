"""Uploads of model files: streamed to disk, measured and checked, and there only when they are whole.

A file is written under a hidden name, and renamed to its checksum when its last byte is safe; who uploads the
same content again gets the same version. An upload that ends early leaves nothing and may simply start again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import msgspec
from msgspec import Meta, Struct

from llmgate.plugin.api import (
    BadRequest,
    Call,
    ClientGone,
    NotFound,
    PayloadTooLarge,
    Unavailable,
)

from .models import Stored
from .multipart import FileForm
from .shapes import id_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from llmgate.plugin.api import Clock

    from .models import Registry

log = logging.getLogger("llmgate")

MAGIC = b"GGUF"
"""How every GGUF file begins (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""
BLOCK = 1024 * 1024
"""Bytes that are collected for one write."""
FORM = 64 * 1024
"""Bytes that a form may have around its file."""
PART = ".part"
ABANDONED = 86_400.0
"""Seconds after which a part that nobody wrote to was left by a process that died."""


class Upload(Struct, frozen=True):
    """Form of `POST /models/{id}/upload`."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class UploadApp:
    """Takes the file of a model, of at most `max_bytes`, into `folder`; without one, uploads are off."""

    def __init__(self, registry: Registry, *, folder: Path | None, max_bytes: int) -> None:
        self._registry = registry
        self._folder = folder
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Raises `Refusal`, and `ClientGone` where the client leaves."""
        call = Call.of(scope, receive)
        if self._folder is None:
            raise NotFound("This gate keeps no model files: its operator has set no models_folder.")
        model = await self._registry.by_id(id_of(call, "model"))
        try:
            stored = await self._store(call, receive, self._folder)
        except OSError as error:
            log.exception("request %s: the upload could not be stored", call.exchange.id)
            raise Unavailable("The file cannot be stored at the moment. Try again later.") from error
        version, is_new = await self._registry.add_version(model.id, stored)
        body = msgspec.json.encode(version)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 201 if is_new else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _store(self, call: Call, receive: Receive, folder: Path) -> Stored:
        form = FileForm(call.header("content-type") or "")
        announced = call.header("content-length")
        if announced is not None and int(announced) > self._max_bytes + FORM:
            raise self._too_large()
        received, more = 0, True
        async with Part(folder) as part:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                data, more = message.get("body", b""), message.get("more_body", False)
                received += len(data)
                for piece in form.feed(data):
                    await part.write(piece)
                if part.size > self._max_bytes or received > self._max_bytes + FORM:
                    raise self._too_large()
            form.end()
            return await part.keep()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The file is over the limit of {self._max_bytes} bytes.")


class Part:
    """A file that is being written: gone when the block is left, unless it was kept. Raises `OSError`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f".{uuid.uuid4().hex}{PART}"
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self.size = 0

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("xb")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    async def write(self, data: bytes) -> None:
        """Append `data`. Raises `BadRequest` as soon as it is clear that this is no GGUF file."""
        self.size += len(data)
        self._block += data
        if len(self._block) >= BLOCK:
            await self._flush()

    async def keep(self) -> Stored:
        """The file is whole: give it its name. Raises `BadRequest` as `write` does."""
        await self._flush()
        await asyncio.to_thread(self._finish)
        return Stored(self.size, self._digest.hexdigest())

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        if self.size == len(block) and not block.startswith(MAGIC):
            raise BadRequest("The file is not a GGUF file.")
        await asyncio.to_thread(self._append, block)

    def _append(self, block: bytearray) -> None:
        self._digest.update(block)
        self._file.write(block)

    def _finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self._folder / f"{self._digest.hexdigest()}.gguf")


def sweep(folder: Path, clock: Clock) -> None:
    """Delete what uploads left behind whose process died. Others that are under way are younger."""
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
            if part.stat().st_mtime < clock() - ABANDONED:
                part.unlink()
