"""Data sets of users' own: a form with a file, checked line by line before anything of it is there."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from llmgate.plugin.api import MULTIPART, BadRequest, ClientGone, PayloadTooLarge, Reply

from ..settings import Line, Prose
from ..shapes import Invalid
from .examples import BadExample
from .registry import shown

if TYPE_CHECKING:
    from starlette.types import Message, Receive

    from llmgate.plugin.api import AnyCall

    from .registry import Registry

NO_FORM = "send a form (multipart/form-data) with the file in it"
FORM_BYTES = 64 * 1024
"""What a form may have around its file."""


class Fields(Struct, frozen=True):
    """What a data set is, beside its file."""

    name: Line
    description: Prose | None = None
    language: Line | None = None
    dataset_type: Line = "code_completion"


class DatasetForm(Fields, frozen=True, kw_only=True):
    """Form of `POST /datasets`."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class Upload:
    """The operation. Files have at most `max_bytes`."""

    def __init__(self, registry: Registry, *, max_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_bytes

    async def __call__(self, call: AnyCall) -> Reply:
        """A data set of the caller's own."""
        if not (call.header("content-type") or "").lower().startswith(MULTIPART):
            raise Invalid("file", NO_FORM)
        request = Request(call.scope, self._bounded(call.receive))
        try:
            async with request.form(max_files=1, max_fields=10) as form:
                file = form.get("file")
                values = {name: value for name, value in form.items() if isinstance(value, str)}
                fields = _fields(values)
                if not isinstance(file, UploadFile):
                    raise BadRequest("Missing required field: file")
                return await self._keep(call, fields, file)
        except (HTTPException, MultiPartException) as error:
            raise Invalid("file", NO_FORM) from error

    async def _keep(self, call: AnyCall, fields: Fields, file: UploadFile) -> Reply:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload.jsonl"
            await asyncio.to_thread(_copy, file, path)
            try:
                stored = await self._registry.files.store(path)
            except BadExample as error:
                raise Invalid("file", str(error)) from error
        if not stored.examples:
            raise Invalid("file", "it has no examples")
        row = await self._registry.add(call.principal.user_id, msgspec.structs.asdict(fields), stored)
        return Reply(shown(row), 201)

    def _bounded(self, receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            received += len(message.get("body", b""))
            if received > self._max_bytes + FORM_BYTES:
                raise PayloadTooLarge(f"The file is over the limit of {self._max_bytes} bytes.")
            return message

        return bounded


def _fields(values: dict[str, str]) -> Fields:
    if not values.get("name"):
        raise BadRequest("Missing required field: name")
    try:
        return msgspec.convert(values, Fields)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise Invalid(place.rstrip("`") or "name", what) from error


def _copy(file: UploadFile, path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(file.file, out)
