"""The whole gate as an ASGI application, for servers that are not ours.

    LLMGATE_CONFIG=gate.toml uvicorn --factory llmgate.asgi:create_app

`llmgate serve` adds what a server has to give: several addresses, a reload without a dropped stream, deadlines for
slow clients. Here the server's own hold, and its address is the gate's.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GateError, Unavailable, answer
from .application import Application
from .hosted import open_hosted

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger("llmgate")


def create_app(config: str | Path | None = None) -> Application:
    """The gate that the gate.toml at `config` describes; without it, `LLMGATE_CONFIG` names the file.

    Nothing is read or opened before the server starts the application (ASGI's lifespan), and everything is closed when
    it stops it. Several processes share the store as the workers of `llmgate serve` do.
    """

    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        try:
            async with open_hosted(config) as gate:
                app.router.default = gate
                yield
        except GateError as error:
            log.error("the gate cannot be opened: %s", error)  # noqa: TRY400 - it says where and what to do
            raise
        finally:
            app.router.default = closed

    closed = Application([], default=_closed)
    return Application([], default=closed, lifespan=lifespan)


async def _closed(scope: Scope, _: Receive, send: Send) -> None:
    refusal = Unavailable("The gate is not open: its server has not started it, or is stopping.")
    await answer(scope, send, refusal)
