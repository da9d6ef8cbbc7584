"""The answer on its way out: one `send` for all layers of a request that look at it or add to its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.types import Message, Send

    from ..errors import Header


class Sending:
    """A `send` that layers share instead of wrapping each other's: what a message costs does not grow with them.

    Headers by their names in small letters: `added` go behind the answer's, each of `defaults` where it has none of
    that name, `put` in place of those that it has. `seen` is shown every message before it goes out. `begun` says
    whether one has.
    """

    __slots__ = ("_send", "added", "begun", "defaults", "put", "seen")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.added: tuple[Header, ...] = ()
        self.defaults: tuple[Header, ...] = ()
        self.put: dict[bytes, bytes] | None = None
        self.seen: Callable[[Message], None] | None = None

    def __call__(self, message: Message) -> Awaitable[None]:
        """ASGI's `send`."""
        self.begun = True
        if message["type"] == "http.response.start" and (self.added or self.defaults or self.put):
            message = {**message, "headers": self._headed(message.get("headers", ()))}
        if self.seen is not None:
            self.seen(message)
        return self._send(message)

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
