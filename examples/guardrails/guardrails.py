"""Two layers for routes of llmgate: a guardrail that refuses and redacts prompts, and an opt-in log of prompts.

They read the body as any ASGI middleware does, by `receive`, and may stand at any place of a route's list.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.api import BadRequest, Surface, answer, exchange_of, read_body
from llmgate.plugin.kit.bodies import with_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from llmgate.plugin.api import Services

MAX_BODY = 16 * 1024 * 1024
log = logging.getLogger("guardrails.prompts")


class Settings(Struct, frozen=True, kw_only=True):
    """The keys of `[plugins.guardrails]`."""

    refuse: Annotated[tuple[str, ...], Meta(description="Patterns that no prompt may have.")] = ()
    redact: Annotated[tuple[str, ...], Meta(description="Patterns that are replaced by [redacted].")] = ()

    def __post_init__(self) -> None:
        for pattern in (*self.refuse, *self.redact):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


class Guardrails:
    """What the entry point names."""

    settings = Settings

    @asynccontextmanager
    async def open(self, settings: Settings, gate: Services) -> AsyncIterator[Surface]:
        """Two layers: `guardrails.check` and `guardrails.log`."""
        check = partial(Check, refuse=settings.refuse, redact=settings.redact)
        yield Surface("guardrails", middleware={"check": check, "log": PromptLog})


class Check:
    """Refuses a prompt with one of `refuse`, and puts [redacted] in the place of `redact`."""

    def __init__(self, app: ASGIApp, *, refuse: tuple[str, ...] = (), redact: tuple[str, ...] = ()) -> None:
        self.app = app
        self._refuse = [re.compile(pattern) for pattern in refuse]
        self._redact = [re.compile(pattern) for pattern in redact]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = await read_body(receive, MAX_BODY)
        document = json.loads(body)
        texts = _texts(document)
        for pattern in self._refuse:
            if any(pattern.search(text) for text in texts):
                await answer(
                    scope, send, BadRequest("The prompt has something that is not let through here.")
                )
                return
        if any(pattern.search(text) for pattern in self._redact for text in texts):
            body = json.dumps(_redacted(document, self._redact)).encode()
        await self.app(*with_body(scope, receive, body), send)


class PromptLog:
    """Logs the prompts of those who ask for it: requests with `X-Log-Prompt: yes`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or (b"x-log-prompt", b"yes") not in scope["headers"]:
            await self.app(scope, receive, send)
            return
        body = await read_body(receive, MAX_BODY)
        log.info("%s %s", exchange_of(scope).id, body.decode(errors="replace"))
        await self.app(*with_body(scope, receive, body), send)


def _texts(value: object) -> list[str]:
    """Every text in a document."""
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inside for text in _texts(item)]


def _redacted(value: object, patterns: list[re.Pattern[str]]) -> object:
    if isinstance(value, dict):
        return {name: _redacted(item, patterns) for name, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, patterns) for item in value]
    if isinstance(value, str):
        for pattern in patterns:
            value = pattern.sub("[redacted]", value)
    return value
