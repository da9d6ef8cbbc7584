"""A plugin for llmgate: tells callers what they have used, and greets them on every answer of a route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import Call, Filter, Operation, Surface, exchange_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from llmgate.plugin.api import Reports, Services


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.hello]`."""

    greeting: Annotated[str, Meta(description="How callers are greeted.")] = "Hello"

    def __post_init__(self) -> None:
        if not (self.greeting.isascii() and self.greeting.isprintable()):
            raise ValueError("greeting must be printable ASCII: it goes into a header")


class Greeting(Struct):
    """The answer of `GET /hello`."""

    message: str
    tokens: int


class Hello:
    """What the entry point names: see `llmgate.plugin.api.Plugin`."""

    settings = Settings

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """Everything before the `yield` runs when the gate opens, everything behind it when it closes."""
        hello = Operation(
            method="GET",
            path="/hello",
            handler=partial(say_hello, settings.greeting, gate.reports),
            answers={200: Greeting},
            credentials=("bearer", "x-api-key"),
            summary="Say hello, and how many tokens the caller has used.",
        )
        layer = partial(Greet, greeting=settings.greeting)
        yield Surface("hello", operations=[hello], middleware={"greet": layer})


async def say_hello(greeting: str, reports: Reports, call: Call) -> Greeting:
    """The handler. It raises a `Refusal` to say no."""
    used = await reports.totals(Filter(user_id=call.principal.user_id))
    return Greeting(f"{greeting}, {call.principal.username}.", used.tokens)


class Greet:
    """A layer for routes: adds `X-Greeting` to every answer."""

    def __init__(self, app: ASGIApp, *, greeting: str) -> None:
        self.app = app
        self._greeting = greeting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        principal = exchange_of(scope).principal
        number = "stranger" if principal is None else f"user {principal.user_id}"
        header = (b"x-greeting", f"{self._greeting}, {number}".encode())

        async def greeting(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self.app(scope, receive, greeting)
