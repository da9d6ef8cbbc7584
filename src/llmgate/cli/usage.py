"""`llmgate usage`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from ..ledger import Filter, Totals
from ..ledger.model import MILLION
from .administration import Administration, administration
from .options import Moment, json_option
from .output import Row, print_json, show, time_of

if TYPE_CHECKING:
    from ..ledger import UsageRecord
    from ..ledger.reports import Group

GROUPS: dict[str, Group] = {
    "user": "user_id",
    "key": "key_id",
    "organization": "organization_id",
    "end_user": "end_user",
    "model": "model",
    "asked_model": "asked_model",
    "upstream": "upstream",
    "route": "route",
    "endpoint": "endpoint",
    "certainty": "certainty",
    "day": "day",
}
EMPTY = "No usage yet."


@click.command()
@click.option("--user", metavar="NAME", help="Only this user's.")
@click.option("--key", type=int, metavar="ID", help="Only this key's.")
@click.option("--organization", metavar="NAME", help="Only this organization's.")
@click.option("--upstream", metavar="NAME", help="Only on this upstream.")
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--asked-model", metavar="NAME", help="Only what was asked for under this name.")
@click.option("--end-user", metavar="NAME", help="Only for this end user of keys that act for others.")
@click.option(
    "--since", type=Moment(), help="From this time on: 2026-01-31, 2026-01-31T12:00 (UTC), or 7d ago."
)
@click.option("--until", type=Moment(), help="Before this time.")
@click.option(
    "--by", type=click.Choice(list(GROUPS)), help="One line for each of these instead of the total."
)
@click.option(
    "--records", type=click.IntRange(1, 100_000), metavar="N", help="The latest N requests instead."
)
@json_option
@administration
async def command(
    gate: Administration,
    /,
    *,
    user: str | None,
    key: int | None,
    organization: str | None,
    by: str | None,
    records: int | None,
    as_json: bool,
    **same: Any,
) -> None:
    """Show what was used, from the ledger: the total, groups, or single requests."""
    if by and records:
        raise click.UsageError("--by and --records exclude each other.")
    owned = None if key is None else await gate.key(key)
    who = None if user is None else (await gate.user(user)).id
    which = Filter(
        user_id=who if who is not None or owned is None else owned.user_id,
        key_id=None if owned is None else owned.id,
        organization_id=None if organization is None else (await gate.organization(organization)).id,
        **same,
    )
    if by is not None:
        show(await _groups(gate, by, which), as_json=as_json, empty=EMPTY)
    elif records is not None:
        rows = await _records(gate, await gate.reports.records(which, limit=records))
        show(rows, as_json=as_json, empty=EMPTY, columns=COLUMNS)
    else:
        totals = await gate.reports.totals(which)
        row = _sums(totals)
        if as_json:
            print_json(row)
        else:
            show([row] if totals.requests else [], as_json=False, empty=EMPTY)


def _sums(totals: Totals) -> Row:
    return {
        "requests": totals.requests,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "tokens": totals.tokens,
        "cost": totals.cost / MILLION,
        "engine_seconds": round(totals.engine_seconds, 3),
    }


async def _groups(gate: Administration, by: str, which: Filter) -> list[Row]:
    """A line for each value; users and organizations by name, and None where a request had none."""
    groups = await gate.reports.grouped(GROUPS[by], which)
    values = [value for value, _ in groups]
    names: dict[Any, Any] = {}
    match by:
        case "user":
            names = await gate.usernames(values)
        case "organization":
            names = await gate.organization_names(values)
        case "day":
            names = {value: dt.datetime.fromtimestamp(value, dt.UTC).date() for value in values}
    return [{by: names.get(value, value), **_sums(totals)} for value, totals in groups]


COLUMNS = (
    "at",
    "user",
    "key_id",
    "model",
    "asked_model",
    "end_user",
    "endpoint",
    "input_tokens",
    "output_tokens",
    "cost",
    "certainty",
    "outcome",
    "status",
    "duration",
    "engine_seconds",
    "request_id",
)


async def _records(gate: Administration, records: list[UsageRecord]) -> list[Row]:
    users = await gate.usernames(record.user_id for record in records)
    return [
        {
            **structs.asdict(record),
            "at": time_of(record.at),
            "user": users.get(record.user_id),
            "cost": record.cost / MILLION,
        }
        for record in records
    ]
