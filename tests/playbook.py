"""A dialogue with an ASGI app: messages in, messages out, without a socket.

told = await play(app, "POST", "/v1/chat/completions", body=b"{}")
assert (told.status, told.body) == (200, b"...")
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]


@dataclass
class Told:
    """What an app has said, in order, and the scope in which it was asked."""

    messages: list[Message] = field(default_factory=list)
    scope: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The status of the answer; 0 if none began."""
        return next((m["status"] for m in self.messages if m["type"] == "http.response.start"), 0)

    @property
    def headers(self) -> list[Header]:
        """The headers of the answer."""
        return next((list(m["headers"]) for m in self.messages if m["type"] == "http.response.start"), [])

    def header(self, name: str) -> str | None:
        """The one header of this name; None if there is none."""
        found = [value.decode() for key, value in self.headers if key.lower() == name.encode()]
        assert len(found) < 2, f"{name} is there {len(found)} times"
        return found[0] if found else None

    @property
    def body(self) -> bytes:
        """All pieces of the body, joined."""
        return b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")

    @property
    def error(self) -> dict[str, Any]:
        """What is in an error body of OpenAI's shape."""
        error: dict[str, Any] = msgspec.json.decode(self.body)["error"]
        return error

    @property
    def finished(self) -> bool:
        """Whether the last piece was said to be the last."""
        last = self.messages[-1] if self.messages else {"type": ""}
        return last["type"] == "http.response.body" and not last.get("more_body", False)


def scope_of(
    method: str = "GET", path: str = "/", headers: Mapping[str, str] | Iterable[Header] = (), **more: Any
) -> dict[str, Any]:
    """The scope of a request as uvicorn makes it."""
    if isinstance(headers, Mapping):
        headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"gate"), *headers],
        "client": ("192.0.2.1", 4711),
        "server": ("127.0.0.1", 8000),
        **more,
    }


async def play(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    *,
    headers: Mapping[str, str] | Iterable[Header] = (),
    body: bytes | Iterable[bytes] = b"",
    leaves: bool = False,
    told: Told | None = None,
    **more: Any,
) -> Told:
    """Ask `app` once. A body of several pieces comes piece by piece; the client that `leaves` does so after it.

    With `told`, what was said until an exception came out of the app can be read there.
    """
    pieces = [body] if isinstance(body, bytes) else list(body)
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": leaves or left > 0}
        for left, piece in zip(range(len(pieces) - 1, -1, -1), pieces, strict=True)
    ]
    told = told or Told()
    told.scope = scope_of(method, path, headers, **more)

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        if not leaves:
            await asyncio.Event().wait()  # the client waits for its answer
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        told.messages.append(message)

    await app(told.scope, receive, send)
    return told


class Answers:
    """A foreign app: answers every request alike and remembers what it was asked."""

    def __init__(
        self, body: bytes | list[bytes] = b"ok", *, status: int = 200, headers: Iterable[Header] = ()
    ) -> None:
        self.pieces = [body] if isinstance(body, bytes) else body
        self.status = status
        self.headers = list(headers)
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, more = b"", scope["type"] == "http"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for index, piece in enumerate(self.pieces, 1):
            more = index < len(self.pieces)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
