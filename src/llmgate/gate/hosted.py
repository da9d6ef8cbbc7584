"""A gate inside a server that is not its own: one address, which is the server's, and gate.toml found by its name."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import ASGI_APP, Config, load_with_warnings
from ..errors import ConfigError
from ..plugin.loader import migrations_of
from ..plugin.warnings import told_at_start
from ..store import migrate
from .build import open_gate
from .runtime import open_runtime

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from .application import Application

log = logging.getLogger("llmgate")

CONFIG = "LLMGATE_CONFIG"
"""The environment variable that names gate.toml where nobody can hand it over."""
COUNTERS = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which servers of several processes name the folder that they count in."""


@asynccontextmanager
async def open_hosted(path: str | Path | None, *, inner: ASGIApp | None = None) -> AsyncIterator[Application]:
    """The application of the gate.toml at `path` or, without one, at `LLMGATE_CONFIG`. Its store is migrated first.

    `inner` is the app that the gate is put around, if any. Raises `ConfigError` and `StoreError`.
    """
    file = _named(path)
    config, warnings = load_with_warnings(file)
    for warning in told_at_start(file, config, warnings):
        log.warning("%s", warning)
    _fits(config, around_an_app=inner is not None)
    await migrate(config.store.url.reveal(), sets=migrations_of(config))
    folder = os.environ.get(COUNTERS)
    counters = None if folder is None else Path(folder)
    async with (
        open_runtime(config, inner=inner, counters=counters) as runtime,
        open_gate(config, runtime) as gate,
    ):
        yield gate.apps[config.gate.listen[0]]
        await gate.drained()


def _named(path: str | Path | None) -> Path:
    named = path or os.environ.get(CONFIG)
    if not named:
        raise ConfigError([f"{CONFIG}: not set: name the gate.toml of this gate there"])
    return Path(named)


def _fits(config: Config, *, around_an_app: bool) -> None:
    """Inside another server there is one address, not the gate's own; an app inside has to be some upstream."""
    problems = []
    if around_an_app and not any(upstream.is_asgi_app for upstream in config.upstreams.values()):
        problems.append(f'upstreams: nothing leads to the app: write urls = ["{ASGI_APP}"] for one of them')
    addresses = {f"routes[{index}]": route.listen for index, route in enumerate(config.routes)}
    addresses |= {f"plugins.{name}": plugin.listen for name, plugin in config.plugins.items()}
    addresses["metrics"] = config.metrics.listen
    problems += [
        f"{place}.listen: {address}: inside another server there is only its address: leave it out"
        for place, address in addresses.items()
        if address is not None
    ]
    if problems:
        raise ConfigError(problems)
