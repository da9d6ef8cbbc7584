"""`llmgate routes`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import Config, load
from .dry_run import dry_run
from .options import gate_file, json_option
from .output import Row, show

if TYPE_CHECKING:
    from ..config import Route
    from ..gate.router import Entry


@click.command()
@json_option
@gate_file
def command(path: Path, *, as_json: bool) -> None:
    """List every method and path that the gate takes.

    The gate is built for it, but neither the store nor an upstream is asked.
    """
    rows = asyncio.run(_rows(load(path)))
    show(rows, as_json=as_json, empty="No routes yet: add [[routes]] to gate.toml.")


async def _rows(config: Config) -> list[Row]:
    routes = {f"routes[{index}]": route for index, route in enumerate(config.routes)}
    async with dry_run(config) as gate:
        return [
            _row(str(address), entry, routes.get(entry.owner))
            for address, app in gate.apps.items()
            for entry in app.table.entries
        ]


def _row(address: str, entry: Entry, route: Route | None) -> Row:
    return {
        "address": address,
        "method": entry.method,
        "path": entry.path,
        "route": entry.route,
        "owner": entry.owner,
        "upstream": None if route is None else route.upstream,
        "layers": None if route is None else _layers(route),
    }


def _layers(route: Route) -> list[str]:
    first = ["authentication"] if route.authentication == "required" else []
    return [*first, *route.middleware]
