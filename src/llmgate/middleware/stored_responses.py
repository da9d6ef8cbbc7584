"""Responses that a backend has stored belong to whoever made them: remembered where they are let through."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import AnswerCut, BadRequest, NotFound, Refusal, StoreError, Unavailable, answer
from ..exchange import StackLayer, exchange_of, push_of
from ..identity.response_owners import tenant_of
from ..usage.sse import EventSplitter, data_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..backends.request import ModelRequest
    from ..identity.response_owners import ResponseOwners

REFERENCES: Final = ("previous_response_id", "conversation")
"""Fields that go on with something stored."""
REMEDY: Final = (
    "stored responses are not let through here; send the conversation itself. Where the gate's operator names "
    "`GET /responses/{id}` in `allow` of the route, each caller has their own."
)
REMEDY_OTHERS: Final = (
    "the gate knows whose a response is, and nothing else that is stored: send the input itself"
)
_ID = re.compile(r"/responses/([^/]+)", re.IGNORECASE)
_HAS_ID = re.compile(rb'"id"|\\u', re.IGNORECASE)
"""An item that refers to another names it; a key may be written with escapes."""
REFERENCE: Final = "item_reference"
MAX_ID = 256
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A plain answer of more is not looked at: nobody can go on with it."""


class _Named(msgspec.Struct):
    """A response, or an event that has one in it."""

    id: str | None = None
    response: _Named | None = None


class StoredResponses(StackLayer):
    """Lets callers read, and go on with, the responses that were made for them; of others' there is nothing (404).

    `owners` remembers whose each is: that of the key's organization, or the user. Without it, for routes whose operator
    has not named an operation on `/responses/{id}` in `allow`, nothing stored is let through at all. Conversations and
    single items, which have ids of other kinds, are refused in either case.
    """

    def __init__(self, app: ASGIApp, *, owners: ResponseOwners | None = None) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        self._owners = owners

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. The body is read by a layer above. Not a coroutine of its own: most requests pass it by."""
        if scope["type"] == "http" and "/responses" in scope["path"].lower():
            return self._guarded(scope, receive, send)
        return self.app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            remembering = await self._judged(scope, send)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        await self.app(scope, receive, remembering or send)

    async def _judged(self, scope: Scope, send: Send) -> _Remembering | None:
        """What remembers the answer, if it is one to remember. Raises `Refusal`."""
        exchange = exchange_of(scope)
        owners, tenant, request = self._owners, tenant_of(exchange.principal), exchange.model_request
        if owners is None:
            _refuse_stored(scope, request)
            return None
        named, endpoint = None, endpoint_of(scope["method"], scope["path"])
        if endpoint is not Endpoint.RESPONSES:
            named = _named_by(scope["path"])
            if named is None:
                raise NotFound(f"{scope['method']} {scope['path']}: {REMEDY_OTHERS}")
        elif request is not None:
            named = _previous(request)
        try:
            if named is not None and not await owners.is_of(named[:MAX_ID], tenant):
                param = REFERENCES[0] if endpoint is Endpoint.RESPONSES else None
                raise NotFound(f"There is no response {named[:MAX_ID]!r}.", param=param)
        except StoreError as error:
            raise Unavailable("Whose this response is cannot be looked up at the moment.") from error
        stores = scope["method"] == "POST" and request is not None and _stores(request)
        return _Remembering(owners, tenant, send) if stores else None


class _Remembering:
    """A `send` that learns the id of a response, and has it remembered before its caller can use it."""

    def __init__(self, owners: ResponseOwners, tenant: str, send: Send) -> None:
        self._owners = owners
        self._tenant = tenant
        self._send = send
        self._push = push_of(send)
        self._looks = False
        self._events: EventSplitter | None = None
        self._body = bytearray()

    def push(self, body: bytes) -> Awaitable[None] | None:
        """See `push_of`."""
        if self._looks:
            return self({"type": "http.response.body", "body": body, "more_body": True})
        return self._push(body)

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`. Raises `AnswerCut` where it cannot be remembered."""
        if message["type"] == "http.response.start":
            kind = next((value for name, value in message["headers"] if name == b"content-type"), b"")
            self._looks = 200 <= message["status"] < 300
            self._events = EventSplitter() if kind.startswith(b"text/event-stream") else None
        elif self._looks and message["type"] == "http.response.body":
            found = self._find(message.get("body", b""), more=message.get("more_body", False))
            if found:
                self._looks = False
                try:
                    await self._owners.remember(found[:MAX_ID], self._tenant)
                except StoreError as error:
                    raise AnswerCut("whose it is cannot be remembered") from error
        await self._send(message)

    def _find(self, body: bytes, *, more: bool) -> str | None:
        if self._events is not None:
            return next(filter(None, (_id_in(data_of(event)) for event in self._events.feed(body))), None)
        self._body += body
        if len(self._body) > MAX_ANSWER_BYTES:
            self._looks, self._body = False, bytearray()
        return None if more else _id_in(self._body)


def _named_by(path: str) -> str | None:
    """The response that `path` is about; None where it has an empty segment behind, which backends read differently."""
    segments = path.rpartition("//")[2]
    found = _ID.search(f"/{segments}")
    return None if found is None else found[1]


def _id_in(data: bytes | bytearray | None) -> str | None:
    try:
        named = msgspec.json.decode(data or b"", type=_Named)
    except msgspec.DecodeError:  # an event of another kind
        return None
    return named.id if named.response is None else named.response.id


def _stores(request: ModelRequest) -> bool:
    return bytes(request.fields.get("store", b"true")) != b"false"


def _previous(request: ModelRequest) -> str | None:
    """The response that a request goes on with. Raises `BadRequest` for what else it goes on with."""
    refuse_references(request, [REFERENCES[1]], REMEDY_OTHERS)
    given = bytes(request.fields.get(REFERENCES[0], b"null"))
    if given in (b"null", b'""'):
        return None
    try:
        return msgspec.json.decode(given, type=str)
    except msgspec.DecodeError as error:
        raise BadRequest("body.previous_response_id: expected text", param=REFERENCES[0]) from error


def _has_reference(raw: bytes) -> bool:
    """Whether an item of the input is one that is stored: it has an id, and a type that says so or none (OpenAI)."""
    if _HAS_ID.search(raw) is None:
        return False
    items = json.loads(raw, object_pairs_hook=_Pairs)
    return isinstance(items, list) and any(isinstance(item, _Pairs) and item.refers for item in items)


class _Pairs(list[tuple[str, object]]):
    """The members of an object, those that it has twice, too: which of them counts differs."""

    @property
    def refers(self) -> bool:
        types = [value for name, value in self if name.casefold() == "type"]
        names = {name.casefold() for name, _ in self}
        return REFERENCE in types or ("id" in names and "role" not in names and not any(types))


def _refuse_stored(scope: Scope, request: ModelRequest | None) -> None:
    if endpoint_of(scope["method"], scope["path"]) is not Endpoint.RESPONSES:
        raise NotFound(f"{scope['method']} {scope['path']}: {REMEDY}")
    if request is not None:
        refuse_references(request)


def refuse_references(
    request: ModelRequest, names: tuple[str, ...] | list[str] = REFERENCES, remedy: str = REMEDY
) -> None:
    """Raise `BadRequest` where a request refers to something that the backend has stored."""
    for name in names:
        if bytes(request.fields.get(name, b"null")) not in (b"null", b'""'):
            raise BadRequest(f"body.{name}: {remedy}", param=name)
    if _has_reference(bytes(request.fields.get("input", b""))):
        raise BadRequest(f"body.input: an item_reference: {remedy}", param="input")
