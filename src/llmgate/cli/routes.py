"""`llmgate routes`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import Config, load
from ..gate.mounts import ProxyMount
from ..gate.router import claims_of
from ..gate.stack import Layer
from .dry_run import dry_run
from .options import gate_file, json_option
from .output import Row, show
from .stacks import names_of

if TYPE_CHECKING:
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from ..gate.router import Claim


COLUMNS = ("address", "method", "path", "route", "owner", "upstream", "layers")


@click.command()
@json_option
@gate_file
def command(path: Path, *, as_json: bool) -> None:
    """List every method and path that the gate takes.

    The gate is built for it, but neither the store nor an upstream is asked. Layers are those that gate.toml has a
    name for; --json has every one, as `llmgate check` prints them.
    """
    rows = asyncio.run(_rows(load(path)))
    empty = "No routes yet: add [[routes]] to gate.toml."
    show(rows, as_json=as_json, empty=empty, columns=COLUMNS)


async def _rows(config: Config) -> list[Row]:
    async with dry_run(config) as gate:
        return [
            _row(str(address), route, claim)
            for address, app in gate.apps.items()
            for route in app.routes
            for claim in claims_of(route)
        ]


def _row(address: str, route: BaseRoute, claim: Claim) -> Row:
    middleware: list[Middleware] = getattr(route, "middleware", [])
    return {
        "address": address,
        "method": claim.method,
        "path": claim.path,
        "route": getattr(route, "name", "-"),
        "owner": getattr(route, "owner", None),
        "upstream": ", ".join(route.settings.served_by) if isinstance(route, ProxyMount) else None,
        "layers": [layer.name for layer in middleware if isinstance(layer, Layer) and layer.name] or None,
        "middleware": names_of(middleware),
    }
