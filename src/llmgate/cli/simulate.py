"""`llmgate simulate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import load
from ..gate.from_config import defaults_of, limit_of, prices_of
from ..ledger import Allotment, Filter, Quotas, Subject
from ..ledger.model import MILLION
from ..tools.simulation import Limit, Report, Rule, simulate
from .administration import Administration, administration
from .options import json_option
from .output import Row, print_json, show, time_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Config
    from ..ledger import UsageRecord
    from ..tools.simulation import OwnQuota

DAY = 86_400
MONTH_DAYS = 30
MAX_RECORDS = 2_000_000
MOST_AFFECTED = 3


@click.command()
@click.argument("other", metavar="NEW.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--days", type=click.FloatRange(0.01, 366), default=7.0, show_default=True, help="How far back."
)
@json_option
@administration
async def command(gate: Administration, /, *, other: Path, days: float, as_json: bool) -> None:
    """Play the ledger's requests against NEW.toml: who is refused, and what it costs.

    The ledger is that of gate.toml (or --config). Limits, quotas and prices are those of NEW.toml; quotas that a
    user, key or organization has of its own stay.
    """
    config = load(other)
    records = await gate.reports.records(Filter(since=time.time() - days * DAY), limit=MAX_RECORDS)
    own = await _own_quotas(gate, config, records)
    report = simulate(
        records, limits=_limits(config), quotas=_quotas(config), prices=prices_of(config), own=own
    )
    rows = _rows(report)
    if as_json:
        print_json({**_summary(report), "rules": rows})
        return
    show([_summary(report)], as_json=False, empty="")
    click.echo()
    show(rows, as_json=False, empty=f"{other} would have refused and shortened nothing.")
    if any(limit.per == "ip" for limit in config.limits):
        click.echo("Limits per address are not played: the ledger knows no addresses.")


def _limits(config: Config) -> list[Limit]:
    limits = []
    for index, table in enumerate(config.limits):
        limit = limit_of(table)
        routes = frozenset(table.routes)
        place = f"limits[{index}]"
        limits.append(Limit(place, limit.per, limit.what, limit.amount, limit.window, limit.moving, routes))
    return limits


def _quotas(config: Config) -> list[Rule]:
    return [Rule(f"quotas[{index}]", default) for index, default in enumerate(defaults_of(config))]


async def _own_quotas(gate: Administration, config: Config, records: Sequence[UsageRecord]) -> OwnQuota:
    """The quotas that subjects of `records` have of their own, read once for each."""
    quotas = Quotas(gate.store, ())
    kinds = {default.kind for default in defaults_of(config)}
    subjects = {
        Subject(kind, ident)
        for record in records
        for kind in kinds
        if (ident := getattr(record, f"{kind}_id")) is not None
    }
    known = {
        (subject, *_thing(balance.allotment)): balance.allotment
        for subject in subjects
        for balance in await quotas.of(subject)
    }
    return lambda subject, allotment: known.get((subject, *_thing(allotment)))


def _thing(allotment: Allotment) -> tuple[object, ...]:
    return allotment.unit, allotment.upstream, allotment.model, allotment.window


def _summary(report: Report) -> Row:
    days = report.span / DAY
    month = None if days < 1 / 24 else round(report.cost_now / MILLION / days * MONTH_DAYS, 2)
    return {
        "requests": report.requests,
        "refused": report.refused,
        "cost then": report.cost_then / MILLION,
        "cost now": report.cost_now / MILLION,
        "cost of a month": month,
    }


def _rows(report: Report) -> list[Row]:
    return [
        {
            "rule": effect.place,
            "refused": effect.refused,
            "shortened": effect.shortened,
            "first": time_of(effect.first),
            "last": time_of(effect.last),
            "most affected": ", ".join(
                f"{who} ({n})" for who, n in effect.subjects.most_common(MOST_AFFECTED)
            ),
        }
        for effect in report.effects
        if effect.refused or effect.shortened
    ]
