"""`llmgate serve`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import load_with_warnings
from ..gate.routes import addresses_of
from ..plugin.warnings import told_at_start
from ..server import serve
from ..server.log import LEVELS, LOG_LEVEL, log_to_stderr, say
from . import EARLY_HANGUP
from .options import gate_file
from .store_file import store_warnings

if TYPE_CHECKING:
    from ..config import Config


@click.command()
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N", help="Server processes, in place of gate.workers."
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    envvar=LOG_LEVEL,
    default="info",
    show_default=True,
    show_envvar=True,
    help="Least level of the gate's own messages.",
)
@gate_file
def command(path: Path, *, workers: int | None, log_level: str) -> None:
    """Serve the gate that gate.toml describes.

    The store is made or migrated first. SIGHUP reads gate.toml again, SIGTERM and Ctrl-C let open
    requests finish and stop.
    """
    early = click.get_current_context().meta.get(EARLY_HANGUP)
    os.environ[LOG_LEVEL] = log_level  # for workers, too
    log_to_stderr()
    config, warnings = load_with_warnings(path, workers=workers)
    for warning in [*told_at_start(path, config, warnings), *asyncio.run(store_warnings(config))]:
        say(f"warning: {warning}")

    def ready(config: Config) -> None:
        announce(config)
        if early is not None:
            early.pass_on()

    serve(path, workers=workers, ready=ready)


def announce(config: Config) -> None:
    """Say where the gate listens and what it lets through."""
    addresses = ", ".join(sorted(map(str, addresses_of(config))))
    workers = f", {config.gate.workers} workers" if config.gate.workers > 1 else ""
    routes = [f"{route.path} -> {', '.join(route.served_by)}" for route in config.routes]
    plugins = [f"{table.prefix or '/'} -> {name}" for name, table in config.plugins.items()]
    say(f"llmgate listens on {addresses}{workers}")
    say(f"routes: {', '.join(routes + plugins) or 'none yet: add [[routes]] to gate.toml'}")
