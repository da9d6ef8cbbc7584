"""A plugin for llmgate: an operation, a page, a middleware that changes prompts, and a command."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import msgspec
from msgspec import Meta, Struct
from starlette.responses import HTMLResponse
from starlette.routing import Route

from llmgate.plugin.api import (
    BadRequest,
    Call,
    Filter,
    Operation,
    Reports,
    Store,
    Surface,
    answer,
    convert_table,
    exchange_of,
    load_config,
    read_body,
)
from llmgate.plugin.kit.bodies import with_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from llmgate.plugin.api import Services

MAX_BODY = 16 * 1024 * 1024


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.hello]`."""

    greeting: Annotated[str, Meta(description="How callers are greeted.")] = "Hello"

    def __post_init__(self) -> None:
        if not self.greeting.isprintable():
            raise ValueError("greeting must be one line")


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
        yield Surface(
            "hello",
            operations=[hello],
            routes=[Route("/", partial(show_page, settings.greeting))],
            middleware={"introduce": Introduce},
        )


async def say_hello(greeting: str, reports: Reports, call: Call) -> Greeting:
    """The operation's handler. It raises a `Refusal` to say no."""
    used = await reports.totals(Filter(user_id=call.principal.user_id))
    return Greeting(f"{greeting}, {call.principal.username}.", used.tokens)


async def show_page(greeting: str, _: Request) -> HTMLResponse:
    """The page: any endpoint of Starlette's."""
    return HTMLResponse(f"<!doctype html><title>Hello</title><h1>{html.escape(greeting)}!</h1>")


class Introduce:
    """A middleware for routes: tells the model who asks, in front of every chat."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].endswith("/chat/completions"):
            await self.app(scope, receive, send)
            return
        principal = exchange_of(scope).principal
        name = "a stranger" if principal is None else principal.username
        body = await read_body(receive, MAX_BODY)
        try:
            chat = msgspec.json.decode(body)
            chat["messages"].insert(0, {"role": "system", "content": f"You talk to {name}."})
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
            await answer(scope, send, BadRequest("The body is no chat with messages."))
            return
        await self.app(*with_body(scope, receive, msgspec.json.encode(chat)), send)


@click.command()
@click.pass_obj
def command(path: Path) -> None:
    """Say hello, and how many tokens all callers have used."""
    click.echo(asyncio.run(_greeting(path)))


async def _greeting(path: Path) -> str:
    config = load_config(path)
    settings = convert_table(Settings, config.plugins["hello"].settings, "plugins.hello")
    async with Store.open(config.store.url.reveal()) as store:
        used = await Reports(store).totals(Filter())
    return f"{settings.greeting}. {used.tokens} tokens so far."
