"""Serving a gate: one process or several workers, HTTP on every address, signals, reload, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import uvloop

from ..config import Config, load
from ..plugin.loader import migrations_of
from ..store import migrate
from .protocol import HttpProtocol
from .run import serve as serve_alone
from .supervisor import supervise

__all__ = ["HttpProtocol", "serve"]


def serve(path: Path, *, workers: int | None = None, ready: Callable[[Config], None]) -> None:
    """Serve the gate of gate.toml at `path` until SIGTERM or SIGINT; a second one does not wait for streams.

    `workers` overrides gate.workers; with one there is no supervisor. `ready` is called once all listen.
    Raises `ConfigError` and `StoreError` if the gate cannot start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(path, workers, ready))


async def _serve(path: Path, workers: int | None, ready: Callable[[Config], None]) -> None:
    config = load(path, workers=workers)
    await migrate(config.store.url.reveal(), sets=migrations_of(config))
    serving = serve_alone if config.gate.workers == 1 else supervise
    await serving(path, config, ready=lambda: ready(config))
