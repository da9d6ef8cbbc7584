"""The ASGI app of an operation: what is read for its handler, what is refused before it, what goes out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..errors import ClientGone, Refusal, UnsupportedMediaType, answer, send_whole
from ..exchange import read_body
from .call import ANY, FORM, MULTIPART, AnyCall, Call, Reply
from .reading import media_type_of, read_json, read_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Receive, Scope, Send


MAX_BODY = 1024 * 1024


class Declared(Protocol):
    """What an operation declares of its body, query, access and answers (see `Operation`)."""

    handler: Any
    answers: Mapping[int, Any]
    access: Any
    query: Any
    body: Any
    media_types: Sequence[str]
    lenient: bool


class OperationApp:
    """The ASGI app of one operation's handler."""

    def __init__(self, operation: Declared, *, max_body: int = MAX_BODY) -> None:
        self._operation = operation
        self._handler = operation.handler
        self._status = next(iter(operation.answers), 200)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            assert self._handler is not None, "an operation has a handler or an app"
            call = await self._call(scope, receive)
            result = await self._handler(call)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        except ClientGone:
            return
        reply = result if isinstance(result, Reply) else Reply(result, self._status)
        await send_reply(scope, send, reply)

    async def _call(self, scope: Scope, receive: Receive) -> AnyCall:
        operation = self._operation
        call: AnyCall = Call.of(scope, receive)
        if operation.access is not None:
            call = replace(call, access=await operation.access(call))
        if operation.query is not None:
            call = replace(call, query=read_pairs(scope["query_string"], operation.query, "query"))
        if operation.body is not None and MULTIPART not in operation.media_types:
            is_form = self._media_type(scope) == FORM
            raw = await read_body(receive, self._max_body)
            body = (
                read_pairs(raw, operation.body, "body")
                if is_form
                else read_json(raw, operation.body, lenient=operation.lenient)
            )
            call = replace(call, body=body)
        return call

    def _media_type(self, scope: Scope) -> str:
        """As what the body is read. Raises `UnsupportedMediaType`, `BadRequest`. Who says nothing means the first."""
        taken = self._operation.media_types
        given = media_type_of(scope)
        if given in taken:
            return given
        if not given or ANY in taken:
            return next(media_type for media_type in taken if media_type != ANY)
        raise UnsupportedMediaType(f"Send the body as {' or '.join(taken)}, not as {given}.")


async def send_reply(scope: Scope, send: Send, reply: Reply) -> None:
    """Send `reply`, its value as JSON: for apps of operations that answer some requests like a handler."""
    headers = [*reply.headers, *(cookie.header for cookie in reply.cookies)]
    body = b""
    if reply.value is not None:
        body = msgspec.json.encode(reply.value)
        headers.append((b"content-type", b"application/json"))
    await send_whole(scope, send, reply.status, headers, body)
