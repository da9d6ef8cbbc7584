"""`llmgate serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..server import serve
from .options import gate_file

if TYPE_CHECKING:
    from ..app import Gate

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command()
@gate_file
def command(path: Path) -> None:
    """Serve the gate that gate.toml describes.

    The store is made or migrated first. SIGHUP reads gate.toml again, SIGTERM and Ctrl-C let open
    requests finish and stop.
    """
    log_to_stderr()
    serve(path, ready=announce)


def log_to_stderr() -> None:
    """What the gate reports goes to stderr, of its libraries only warnings; stdout has the access log."""
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    logging.getLogger("llmgate").setLevel(logging.INFO)


def announce(gate: Gate) -> None:
    """Say where the gate listens and what it lets through."""
    addresses = ", ".join(map(str, gate.apps))
    routes = [f"{route.path} -> {route.upstream}" for route in gate.config.routes]
    plugins = [f"{table.prefix or '/'} -> {name}" for name, table in gate.config.plugins.items()]
    click.echo(f"llmgate listens on {addresses}", err=True)
    click.echo(f"routes: {', '.join(routes + plugins) or 'none yet: add [[routes]] to gate.toml'}", err=True)
