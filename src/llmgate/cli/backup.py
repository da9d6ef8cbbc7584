"""`llmgate backup`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from ..config import load
from ..store.backup import backup
from .options import gate_file, json_option
from .output import say


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@gate_file
def command(path: Path, *, file: Path, as_json: bool) -> None:
    """Copy the store to a file, while the gate runs.

    FILE must not be there yet. For SQLite: PostgreSQL has pg_dump.
    """
    asyncio.run(backup(load(path).store.url.reveal(), file))
    size = file.stat().st_size
    say(f"The store is copied to {file}: {size} bytes.", {"file": str(file), "size": size}, as_json=as_json)
