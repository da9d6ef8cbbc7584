"""`llmgate migrate`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from ..config import load
from ..plugin.loader import migrations_of
from ..store import migrate, pending
from .options import gate_file, json_option
from .output import say


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if something is pending.")
@json_option
@click.pass_context
@gate_file
def command(path: Path, ctx: click.Context, *, check: bool, as_json: bool) -> None:
    """Bring the store's tables to what this llmgate needs.

    A store that is not there is made. Migrations run forward alone: back up before, to go back.
    """
    config = load(path)
    url, sets = config.store.url.reveal(), migrations_of(config)
    found = asyncio.run(pending(url, sets=sets) if check else migrate(url, sets=sets))
    name = "pending" if check else "applied"
    say(f"{name}: {', '.join(found) or 'nothing'}", {name: found}, as_json=as_json)
    if check and found:
        ctx.exit(1)
