"""`llmgate quota`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isinf
from typing import Any

import click

from ..ledger import Allotment, Balance, Subject, Unit, Window
from ..ledger.leases import identity_of
from ..ledger.model import MILLION
from .administration import Administration, administration, or_look_at
from .options import json_option, only
from .output import Row, say, show, time_of


@click.group()
def command() -> None:
    """Set, show, reset and remove quotas.

    What changes holds at once, also in a gate that runs. What gate.toml gives to everybody is in its
    [[quotas]]; a quota set here takes its place for the same unit, window, upstream and model.
    """


class Period(click.ParamType[Window]):
    """A window."""

    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Window:
        """From what was typed."""
        try:
            return Window(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def subject_options(work: Callable[..., Any]) -> Callable[..., Any]:
    """Whom a quota belongs to: exactly one of three options; `_subject` reads them."""
    for option in (
        click.option("--organization", metavar="NAME", help="Of this organization."),
        click.option("--key", type=int, metavar="ID", help="Of this key."),
        click.option("--user", metavar="NAME", help="Of this user."),
    ):
        work = option(work)
    return work


@command.command("set")
@subject_options
@click.option("--tokens", type=click.IntRange(0), metavar="N", help="Tokens, in and out.")
@click.option("--requests", type=click.IntRange(0), metavar="N", help="Requests.")
@click.option("--money", type=click.FloatRange(0, 1e12), metavar="M", help="Money, by [prices] of gate.toml.")
@click.option(
    "--window",
    type=Period(),
    default="none",
    metavar="WHEN",
    help="When it starts over: none, day, month (UTC), or after a period from now on such as 24h or 30d.",
)
@click.option("--overdraft", type=click.FloatRange(0, 1e12), default=0, help="May be passed by this much.")
@click.option("--upstream", default="", metavar="NAME", help="Count this upstream alone.")
@click.option("--model", default="", metavar="NAME", help="Count this model alone.")
@json_option
@administration
async def set_quota(
    gate: Administration,
    *,
    user: str | None,
    key: int | None,
    organization: str | None,
    tokens: int | None,
    requests: int | None,
    money: float | None,
    window: Window,
    overdraft: float,
    upstream: str,
    model: str,
    as_json: bool,
) -> None:
    """Set a quota. What was used of it already stays used."""
    subject = await _subject(gate, user=user, key=key, organization=organization)
    named, limit = only(tokens=tokens, requests=requests, money=money)
    unit = Unit(named)
    if upstream and upstream not in gate.config.upstreams:
        known = ", ".join(gate.config.upstreams) or "none"
        raise click.UsageError(f'gate.toml has no upstream "{upstream}" (known: {known}).')
    if unit is Unit.MONEY:
        _warn_of_prices(gate, model)
    scale = MILLION if unit is Unit.MONEY else 1
    allotment = Allotment(
        unit,
        round(limit * scale),
        window=window,
        upstream=upstream,
        model=model,
        overdraft=round(overdraft * scale),
    )
    allotment = replace(allotment, anchor=await _anchor(gate, subject, allotment))
    balance = await gate.quotas.set(subject, allotment)
    row = _row(balance)
    say(f"Set quota {row['id']}: {row['limit']} {unit}, {row['remaining']} left.", row, as_json=as_json)


def _warn_of_prices(gate: Administration, model: str) -> None:
    """Without a price nothing is ever spent."""
    prices = gate.config.prices
    if not prices:
        click.echo(
            "warning: gate.toml has no prices, so no money is ever spent: add [prices.MODEL]", err=True
        )
    elif model and model not in prices and "*" not in prices:
        known = ", ".join(prices)
        click.echo(
            f'warning: gate.toml has no price of "{model}", so none is spent on it (known: {known})', err=True
        )


@command.command("show")
@subject_options
@json_option
@administration
async def show_quotas(
    gate: Administration, *, user: str | None, key: int | None, organization: str | None, as_json: bool
) -> None:
    """Show where every quota of a user, key or organization stands, those of gate.toml included.

    Only quotas with an ID are in the store, to be reset or removed.
    """
    subject = await _subject(gate, user=user, key=key, organization=organization)
    rows = [_row(balance) for balance in await gate.quotas.of(subject)]
    show(rows, as_json=as_json, empty="No quotas yet, so nothing is limited: `llmgate quota set` sets one.")


@command.command()
@click.argument("quota_id", type=int, metavar="ID")
@json_option
@administration
async def reset(gate: Administration, quota_id: int, *, as_json: bool) -> None:
    """Forget what was used of the quota ID in this window."""
    with or_look_at(f"quota {quota_id}", "llmgate quota show"):
        await gate.quotas.reset(quota_id)
    say(f"Quota {quota_id} starts from zero now.", {"id": quota_id}, as_json=as_json)


@command.command()
@click.argument("quota_id", type=int, metavar="ID")
@json_option
@administration
async def remove(gate: Administration, quota_id: int, *, as_json: bool) -> None:
    """Take away the quota ID. What gate.toml gives to everybody holds again."""
    with or_look_at(f"quota {quota_id}", "llmgate quota show"):
        await gate.quotas.remove(quota_id)
    say(f"Removed quota {quota_id}.", {"id": quota_id}, as_json=as_json)


async def _anchor(gate: Administration, subject: Subject, allotment: Allotment) -> float:
    """From when periods are counted: as before where there is such a quota, else from now on."""
    if allotment.window.seconds is None:
        return 0.0
    thing = identity_of(subject, allotment)
    for balance in await gate.quotas.of(subject):
        if balance.updated_at and identity_of(subject, balance.allotment) == thing:
            return balance.allotment.anchor
    return float(int(gate.store.clock()))


async def _subject(gate: Administration, **given: Any) -> Subject:
    kind, name = only(**given)
    find: dict[str, Callable[[Any], Any]] = {
        "user": gate.user,
        "key": gate.key,
        "organization": gate.organization,
    }
    return Subject(kind, (await find[kind](name)).id)


def _row(balance: Balance) -> Row:
    allotment = balance.allotment

    def shown(amount: int) -> float:
        return amount / MILLION if allotment.unit is Unit.MONEY else amount

    return {
        "id": balance.quota_id or None,
        "unit": allotment.unit,
        "limit": shown(allotment.limit),
        "used": shown(balance.used),
        "remaining": shown(balance.remaining),
        "overdraft": shown(allotment.overdraft),
        "window": str(allotment.window),
        "upstream": allotment.upstream or None,
        "model": allotment.model or None,
        "resets_at": None if isinf(balance.window_end) else time_of(balance.window_end),
    }
