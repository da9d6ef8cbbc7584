"""The one record of a request on its way through the gate, kept in `scope["llmgate"]`.

Each layer adds what it knows and reads what the layers above it added; no layer asks another. A layer
that is used alone, around a foreign app, gets a fresh one from `exchange_of`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import getrandbits
from typing import TYPE_CHECKING

import msgspec

from ..backends.content_coding import decode_request
from ..backends.dialect import DIALECTS
from ..backends.output_limit import limit
from ..backends.request import LIMITS, endpoint_of, parse_request, rewrite
from ..errors import ErrorShape, openai_shape
from .body import PLAIN_ANSWERS, about_body, name_of, read_body, replace_body_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope

    from ..backends.catalog import FallbackOn, Target
    from ..backends.dialect import Dialect
    from ..backends.endpoint import Endpoint
    from ..backends.request import ModelRequest
    from ..ledger.accounts import Hold
    from ..usage.model import Reading
    from .principal import Principal

    Edit = Callable[[Dialect], Mapping[str, object]]
    """Changes of a body for a backend's dialect, as `backends.request.rewrite` takes them."""

RENEWAL_INTERVAL_S = 0.01


def new_id() -> str:
    """A new request id: a UUID of version 7 (RFC 9562 5.7), unique but no secret.

    Such ids rise with time, so that the ledger's index of them grows at its end, in pages that are at hand.
    """
    at, random = int(time.time() * 1000), getrandbits(74)
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031 - an f-string takes half as long again
        at >> 16,
        at & 0xFFFF,
        random & 0xFFF,
        0x8000 | random >> 12 & 0x3FFF,
        random >> 26,
    )


def request_ids(timer: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """One `new_id` after the other; those of a hundredth of a second count on (RFC 9562 6.2, method 2).

    Writing a number behind what stays costs a tenth of making it all.
    """
    while True:
        first = new_id()
        head, number = first[:24], 1 << 47 | int(first[24:], 16) >> 2  # has twelve digits, however it counts
        until = timer() + RENEWAL_INTERVAL_S
        while timer() < until:
            yield f"{head}{number:x}"
            number += 1


@dataclass(slots=True)
class Exchange:
    """What is known of one request so far. Times are seconds of the monotonic clock.

    `status` is 0 until the answer begins; `complete` says that its last piece went out. `drain` is for how long
    an answer that its client has left is read on, as its count is still to come; `broke_off` says that the
    upstream has given up in the middle of an answer whose status tells of no error.

    `output_limit` is what each choice may generate where the gate bounds it, in tokens; `removable` says that the
    limits which nobody asked for (`added_limits`) are to be left out where the upstream refuses them.

    `tokens_left` is what remains of the tightest rate limit of tokens.

    `sent` is when it was sent to an engine, `queued` says that it waits for a place at one. `end_user` is for
    whom a key that acts for others has sent it.

    `targets` are the places where the model is served, in the order in which they are tried; `fallback_on` says why
    the next one is. `asked` is the model's public name, `answering` the name of the one that is tried, and `model`
    the one that is charged: the latter, or the former with `charges_asked`.

    `plain_answer`: the backend is asked for an answer that is not compressed, whatever the client reads.

    The body is read and parsed once, by the first layer that asks, and written once: changes are collected on the
    way down. A layer hands them on to one that collects them, too (`collects_edits`); before any other app, such as a
    middleware of a plugin that reads the body itself, they are written.

    `counted_by` are the limits and budgets that have counted the request: each does so once, though a surface sends
    it into a route that has the same ones. `takes_memory` is told how many bytes more a body has once it is decoded.
    """

    id: str
    started: float
    route: str = "-"
    surface: str = ""
    error_shape: ErrorShape = openai_shape
    principal: Principal | None = None
    model_request: ModelRequest | None = None
    model: str = ""
    asked: str = ""
    answering: str = ""
    targets: Sequence[Target] = ()
    fallback_on: Collection[FallbackOn] = ()
    charges_asked: bool = False
    upstream: str = ""
    hold: Hold | None = None
    tokens_left: int | None = None
    reading: Reading | None = None
    refused: str | None = None
    status: int = 0
    complete: bool = False
    sent: float | None = None
    queued: bool = False
    end_user: str = ""
    first_byte: float | None = None
    output_limit: int | None = None
    removable: bool = False
    added_limits: frozenset[str] = frozenset()
    drain: float = 0.0
    client_left: bool = False
    broke_off: bool = False
    counted_by: frozenset[object] = frozenset()
    plain_answer: bool = False
    takes_memory: Callable[[int], None] | None = None
    _body: bytes = field(default=b"", repr=False)
    _body_waits: bool = False
    _bounds_output: bool = False
    _edits: tuple[Edit, ...] = field(default=(), repr=False)
    _dialect: Dialect = field(default=DIALECTS["generic"], repr=False)
    _sources: tuple[Receive, ...] = field(default=(), repr=False)
    """What the body was read from: the server's word, and what foreign layers have put in its place since."""
    _asked: int = 0
    """How many of them, from the last on, are being asked now: one that was put in place asks the one before it."""

    @property
    def copies(self) -> int:
        """Answers asked for of each prompt."""
        return 1 if self.model_request is None else self.model_request.copies

    async def read(
        self,
        scope: Scope,
        receive: Receive,
        limit: int,
        *,
        endpoint: Callable[[Mapping[str, msgspec.Raw]], Endpoint] | None = None,
    ) -> ModelRequest:
        """What the request's body asks for, parsed once, however many layers ask.

        `receive` is what the layer was given: where a foreign middleware above has put its own there, the body that
        it sends counts from here on. `endpoint` tells from the body's fields which endpoint they are for, where the
        path does not. A compressed body is decoded, and `scope` changed to say so. Raises `PayloadTooLarge` over
        `limit` bytes, `BadRequest`, what `takes_memory` raises, and `ClientGone` if the client leaves.
        """
        if self.model_request is not None and self.has_read(receive):
            return self.model_request
        content_type, coding = about_body(scope)
        body = await read_body(receive, limit)
        if coding:
            decoded = decode_request(body, coding, limit)
            if self.takes_memory is not None:
                self.takes_memory(len(decoded) - len(body))
            body = decoded
            replace_body_headers(scope, len(body))
        request = parse_request(endpoint or endpoint_of(scope["method"], scope["path"]), body, content_type)
        if self.model_request is None or (request.model and request.model != self.model_request.model):
            self.model = name_of(request.model)
        self.model_request = request
        self._body, self._body_waits = body, True
        self._sources += (receive,)
        return request

    def has_read(self, receive: Receive) -> bool:
        """Whether the body that comes from `receive` is the one that was read."""
        return self.model_request is not None and (receive == self.receive or receive in self._sources)

    def edit(self, edit: Mapping[str, object] | Edit, dialect: Dialect | None = None) -> None:
        """Change top-level fields of the body; `msgspec.UNSET` removes one.

        Where a backend's dialect decides how, `edit` is a function of it; `dialect` is that of the first backend.
        """
        if dialect is not None:
            self._dialect = dialect
        self._edits += (edit if callable(edit) else lambda _: edit,)

    def limit_output(self, most: int, dialect: Dialect) -> None:
        """Bound what each choice may generate, by `most` tokens or by the least of several such bounds."""
        request = self.model_request
        assert request is not None, "limits follow read()"
        most = self.output_limit = most if self.output_limit is None else min(most, self.output_limit)
        if self._bounds_output or (len(self.targets) < 2 and not limit(dialect, request, most)):
            return  # an edit does it, or the request itself
        self._bounds_output = True

        def limited(each: Dialect) -> Mapping[str, object]:
            changes = limit(each, request, self.output_limit or 0)
            self.added_limits = self.added_limits | (changes.keys() - request.limits.keys())
            return changes

        self.edit(limited, dialect)

    def answers_with(self, target: Target) -> None:
        """The request is tried on `target` now."""
        self.upstream = target.upstream
        self.answering = target.model
        if not self.charges_asked:
            self.model = target.model

    def hand_on(self, scope: Scope, app: ASGIApp) -> Scope:
        """The scope for `app`, the next one below a layer that has read the body and passes `self.receive` on."""
        if (self._edits or self.plain_answer) and not _collects(app):
            return self._write(scope)
        return scope

    def written(self, body: bytes, dialect: Dialect | None = None, model: str = "") -> bytes:
        """`body`, which came from `receive`, as it goes to a backend: with the edits, and the model's name there."""
        request = self.model_request
        if request is None:
            return body
        changes = self._changes(dialect or self._dialect)
        if model and model != changes.get("model", request.model):
            changes["model"] = model
        return rewrite(request, body, **changes) if changes else body

    def release(self) -> None:
        """The request has gone up for good: its fields, which are pieces of its body, need not be kept."""
        self._edits = ()
        if self.model_request is not None:
            self.model_request.fields.clear()

    async def receive(self) -> Message:
        """The `receive` of the layers below one that has read the body: the body, then the server's word."""
        if self._body_waits:
            body, self._body, self._body_waits = self._body, b"", False
            if not self._edits and len(self.targets) < 2 and self.model_request is not None:
                self.model_request.fields.clear()  # nobody will write it anew, and an answer may stream for an hour
            return {"type": "http.request", "body": body, "more_body": False}
        assert self._sources, "receive() follows read()"
        source = self._sources[max(0, len(self._sources) - 1 - self._asked)]
        self._asked += 1
        try:
            return await source()
        finally:
            self._asked -= 1

    def _changes(self, dialect: Dialect) -> dict[str, object]:
        changes: dict[str, object] = {}
        for edit in self._edits:
            changes |= edit(dialect)
        return changes

    def _write(self, scope: Scope) -> Scope:
        """Write the edits into the body that waits; the scope says how long it is now."""
        if self.plain_answer:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != PLAIN_ANSWERS[0]]}
            scope["headers"].append(PLAIN_ANSWERS)
        request, changes = self.model_request, self._changes(self._dialect)
        self._edits = ()
        if request is None or not changes:
            return scope
        self._body = rewrite(request, self._body, **changes)
        if request.form is not None:  # its fields stand elsewhere in the body now
            self.model_request = parse_request(request.endpoint, self._body, about_body(scope)[0])
        for name, value in changes.items():
            if value is msgspec.UNSET:
                request.fields.pop(name, None)
            else:
                request.fields[name] = msgspec.Raw(msgspec.json.encode(value))
            if name in LIMITS and isinstance(value, int):
                request.limits[name] = value
        scope = dict(scope)
        replace_body_headers(scope, len(self._body))
        return scope


def _collects(app: ASGIApp) -> bool:
    return getattr(getattr(app, "__self__", app), "collects_edits", False)


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of this request, made now if no layer above has made one."""
    try:
        exchange: Exchange = scope["llmgate"]
    except KeyError:
        exchange = scope["llmgate"] = Exchange(id=new_id(), started=time.monotonic())
    return exchange
