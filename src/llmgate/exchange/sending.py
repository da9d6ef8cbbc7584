"""The answer on its way out: one `send` for all layers of a request that look at it or add to its head.

Beside ASGI's call, a `send` of ours has `push`, for a piece of the body that is not the last one, and `whole`, for an
answer that is there from its head to its end. What is sent by them is written before they return, without a coroutine:
nobody has to be woken for a chunk of a stream, and a plain answer passes each layer once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Send

    from ..errors import Header

Push = Callable[[bytes], Awaitable[None] | None]
"""Takes a piece of an answer that is not its last: None if nothing is left to be done for it."""
Whole = Callable[[int, "list[Header]", bytes], Awaitable[None] | None]
"""Takes status, headers and body of an answer, likewise."""


class Observer(Protocol):
    """Who looks at an answer as it goes out."""

    def begins(self, status: int) -> None:
        """Its head does."""

    def piece(self, body: bytes, *, more: bool) -> None:
        """A piece of its body does."""


class Sending:
    """A `send` that layers share instead of wrapping each other's: what a message costs does not grow with them.

    Headers by their names in small letters: `added` go behind the answer's, each of `defaults` where it has none of
    that name, `put` in place of those that it has. `observer` is told of every message before it goes out. `begun`
    says whether one has.
    """

    __slots__ = ("_push", "_send", "added", "begun", "defaults", "observer", "put")

    _push: Push

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.added: tuple[Header, ...] = ()
        self.defaults: tuple[Header, ...] = ()
        self.put: dict[bytes, bytes] | None = None
        self.observer: Observer | None = None

    def __call__(self, message: Message) -> Awaitable[None]:
        """ASGI's `send`."""
        self.begun = True
        kind, observer = message["type"], self.observer
        if kind == "http.response.body":
            if observer is not None:
                observer.piece(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start":
            self._push = push_of(self._send)
            if self.added or self.defaults or self.put:
                message = {**message, "headers": self._headed(message.get("headers", ()))}
            if observer is not None:
                observer.begins(message["status"])
        return self._send(message)

    def whole(self, status: int, headers: list[Header], body: bytes) -> Awaitable[None] | None:
        """See `whole_of`."""
        self.begun = True
        if self.added or self.defaults or self.put:
            headers = self._headed(headers)
        observer = self.observer
        if observer is not None:
            observer.begins(status)
            observer.piece(body, more=False)
        return whole_of(self._send)(status, headers, body)

    def push(self, body: bytes) -> Awaitable[None] | None:
        """See `push_of`."""
        if self.observer is not None:
            self.observer.piece(body, more=True)
        return self._push(body)

    def _headed(self, headers: Iterable[Header]) -> list[Header]:
        put = self.put
        headers = [pair for pair in headers if pair[0] not in put] if put else [*headers]
        for default in self.defaults:
            name = default[0]
            for other, _ in headers:
                if len(other) == len(name) and other.lower() == name:
                    break
            else:
                headers.append(default)
        headers += self.added
        if put:
            headers += put.items()
        self.added, self.defaults, self.put = (), (), None  # an answer may stream for an hour
        return headers


def sending(send: Send) -> Sending:
    """`send` as the layers share it: itself, where the layer above shares it already."""
    return send if isinstance(send, Sending) else Sending(send)


def push_of(send: Send) -> Push:
    """What sends a piece of an answer's body that is not its last: at once (None), or by what it returns.

    A `send` that has no `push`, that of a foreign layer or server, is called as it always is.
    """
    own: Push | None = getattr(send, "push", None)
    if own is not None:
        return own

    def push(body: bytes) -> Awaitable[None]:
        return send({"type": "http.response.body", "body": body, "more_body": True})

    return push


def whole_of(send: Send) -> Whole:
    """What sends an answer that is there from its head to its end: at once (None), or by what it returns.

    A `send` that has no `whole`, that of a foreign layer or server, is called for the head, and for the body.
    """
    own: Whole | None = getattr(send, "whole", None)
    if own is not None:
        return own

    async def whole(status: int, headers: list[Header], body: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return whole
