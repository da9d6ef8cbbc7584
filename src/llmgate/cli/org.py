"""`llmgate org`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..identity.organizations import MEMBER
from .administration import Administration, administration
from .options import json_option
from .output import Row, say, show, time_of

if TYPE_CHECKING:
    from ..identity import Organisation


@click.group()
def command() -> None:
    """Add organisations, their members, and list them.

    The members of an organisation share its quotas, with keys that are made for it.
    """


@command.command()
@click.argument("name")
@json_option
@administration
async def add(gate: Administration, name: str, *, as_json: bool) -> None:
    """Add the organisation NAME."""
    organisation = await gate.identity.organisations.create(name)
    say(f"Added {organisation.name}, organisation {organisation.id}.", _row(organisation), as_json=as_json)


@command.command("list")
@json_option
@administration
async def list_organisations(gate: Administration, *, as_json: bool) -> None:
    """List the organisations, oldest first."""
    rows = [_row(organisation) for organisation in await gate.identity.organisations.all()]
    empty = "No organisations yet: `llmgate org add NAME` adds one."
    show(rows, as_json=as_json, empty=empty, columns=("id", "name", "active", "created_at"))


@command.group()
def member() -> None:
    """Add, list and remove members."""


@member.command("add")
@click.argument("organisation")
@click.argument("user")
@click.option("--role", default=MEMBER, show_default=True, help="What it means is for the surfaces to say.")
@administration
async def add_member(gate: Administration, organisation: str, user: str, *, role: str) -> None:
    """Make USER a member of ORGANISATION, or give a member another role."""
    found, member = await gate.organisation(organisation), await gate.user(user)
    await gate.identity.organisations.add_member(found.id, member.id, role=role)
    click.echo(f"{member.username} is in {found.name} as {role} now.")


@member.command("list")
@click.argument("organisation")
@json_option
@administration
async def list_members(gate: Administration, organisation: str, *, as_json: bool) -> None:
    """List the members of ORGANISATION by name."""
    found = await gate.organisation(organisation)
    rows = [
        {"user_id": member.user_id, "username": member.username, "role": member.role}
        for member in await gate.identity.organisations.members(found.id)
    ]
    empty = f"No members yet: `llmgate org member add {found.name} USER` adds one."
    show(rows, as_json=as_json, empty=empty)


@member.command("remove")
@click.argument("organisation")
@click.argument("user")
@administration
async def remove_member(gate: Administration, organisation: str, user: str) -> None:
    """Take USER out of ORGANISATION; keys for it stop at once."""
    found, member = await gate.organisation(organisation), await gate.user(user)
    await gate.identity.organisations.remove_member(found.id, member.id)
    click.echo(f"{member.username} is not in {found.name} now.")


def _row(organisation: Organisation) -> Row:
    return {
        "id": organisation.id,
        "uuid": organisation.uuid,
        "name": organisation.name,
        "active": organisation.is_active,
        "created_at": time_of(organisation.created_at),
    }
