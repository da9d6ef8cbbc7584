"""`llmgate reconcile`."""

from __future__ import annotations

import asyncio

import click

from ..errors import NotFound
from ..observability.reconcile import Comparison, comparable, compare
from .administration import Administration, administration
from .dry_run import dry_run
from .options import json_option
from .output import Row, show


@click.command()
@click.option("--upstream", metavar="NAME", help="Only this one.")
@click.option(
    "--window",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="For how long to count.",
)
@json_option
@administration
async def command(gate: Administration, /, *, upstream: str | None, window: float, as_json: bool) -> None:
    """Compare the ledger with what the upstreams count themselves, for a while.

    Requests that run while the window begins or ends make a difference of their own: a drift that stays is
    one that quiet windows show, too.
    """
    known = comparable(gate.config)
    if upstream is not None and upstream not in known:
        names = ", ".join(known) or "none"
        raise NotFound(
            f'There is no upstream "{upstream}" that counts tokens itself (those that do: {names}).'
        )
    if not as_json:
        click.echo(f"Counting for {window:g} s ...", err=True)
    async with dry_run(gate.config) as built:
        served = built.services.upstreams  # for their keys, certificates and proxies
        comparisons = await asyncio.gather(
            *(
                compare(served[name], gate.reports, window=window)
                for name in known
                if upstream in (None, name)
            )
        )
    rows = [row for comparison in comparisons for row in _rows(comparison)]
    show(rows, as_json=as_json, empty="No upstream counts tokens itself.")


def _rows(comparison: Comparison) -> list[Row]:
    return [
        {
            "upstream": comparison.upstream,
            "direction": direction,
            "backend": getattr(comparison.backend, direction),
            "ledger": getattr(comparison.ledger, direction),
            "drift": getattr(comparison.drift, direction),
        }
        for direction in ("input", "output")
    ]
