"""The answer on its way out: one `send` for all layers of a request that look at it or add to its head.

Beside ASGI's call, a `send` of ours has `push`, for a piece of the body that is not the last one: it is written
before `push` returns, without a coroutine, so that nobody has to be woken for a chunk of a stream.
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

    def __init__(self, send: Send) -> None:
        self._send = send
        self._push = push_of(send)
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
            if self.added or self.defaults or self.put:
                message = {**message, "headers": self._headed(message.get("headers", ()))}
            if observer is not None:
                observer.begins(message["status"])
        return self._send(message)

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
