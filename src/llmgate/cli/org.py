"""`llmgate org`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..identity.organizations import MEMBER
from .administration import Administration, administration
from .options import json_option
from .output import Row, say, show, time_of
from .permissions import CLEAR, changes_of, permission_options, shown

if TYPE_CHECKING:
    from ..identity import Organization


@click.group()
def command() -> None:
    """Add and change organizations, their members, and list them.

    The members of an organization share its quotas, with keys that are made for it.
    """


@command.command()
@click.argument("name")
@json_option
@administration
async def add(gate: Administration, name: str, *, as_json: bool) -> None:
    """Add the organization NAME."""
    organization = await gate.identity.organizations.create(name)
    say(f"Added {organization.name}, organization {organization.id}.", _row(organization), as_json=as_json)


@command.command()
@click.argument("name")
@permission_options
@CLEAR
@json_option
@administration
async def update(gate: Administration, /, name: str, *, as_json: bool, **options: Any) -> None:
    """Change what all keys of the organization NAME may do, together: at once, also in a gate that runs.

    What is not named stays.
    """
    found, organizations = await gate.organization(name), gate.identity.organizations
    changes = changes_of(gate.store.clock(), **options)
    if "requests_per_minute" in changes.beside:
        await organizations.set_requests_per_minute(found.id, changes.beside["requests_per_minute"])
    if "expires_at" in changes.beside:
        await organizations.set_expiry(found.id, changes.beside["expires_at"])
    if changes.permissions:
        await organizations.set_permissions(found.id, changes.of(found.permissions))
    say(f"Changed {found.name}.", _row(await organizations.by_id(found.id)), as_json=as_json)


@command.command("list")
@json_option
@administration
async def list_organizations(gate: Administration, *, as_json: bool) -> None:
    """List the organizations, oldest first."""
    rows = [_row(organization) for organization in await gate.identity.organizations.all()]
    empty = "No organizations yet: `llmgate org add NAME` adds one."
    show(rows, as_json=as_json, empty=empty, columns=("id", "name", "active", "created_at"))


@command.group()
def member() -> None:
    """Add, list and remove members."""


@member.command("add")
@click.argument("organization")
@click.argument("user")
@click.option("--role", default=MEMBER, show_default=True, help="What it means is for the surfaces to say.")
@json_option
@administration
async def add_member(gate: Administration, organization: str, user: str, *, role: str, as_json: bool) -> None:
    """Make USER a member of ORGANIZATION, or give a member another role."""
    found, member = await gate.organization(organization), await gate.user(user)
    await gate.identity.organizations.add_member(found.id, member.id, role=role)
    row = {"user_id": member.id, "username": member.username, "role": role}
    say(f"{member.username} is in {found.name} as {role} now.", row, as_json=as_json)


@member.command("list")
@click.argument("organization")
@json_option
@administration
async def list_members(gate: Administration, organization: str, *, as_json: bool) -> None:
    """List the members of ORGANIZATION by name."""
    found = await gate.organization(organization)
    rows = [
        {"user_id": member.user_id, "username": member.username, "role": member.role}
        for member in await gate.identity.organizations.members(found.id)
    ]
    empty = f"No members yet: `llmgate org member add {found.name} USER` adds one."
    show(rows, as_json=as_json, empty=empty)


@member.command("remove")
@click.argument("organization")
@click.argument("user")
@json_option
@administration
async def remove_member(gate: Administration, organization: str, user: str, *, as_json: bool) -> None:
    """Take USER out of ORGANIZATION; keys for it stop at once."""
    found, member = await gate.organization(organization), await gate.user(user)
    await gate.identity.organizations.remove_member(found.id, member.id)
    row = {"user_id": member.id, "username": member.username, "role": None}
    say(f"{member.username} is not in {found.name} now.", row, as_json=as_json)


def _row(organization: Organization) -> Row:
    return {
        "id": organization.id,
        "uuid": organization.uuid,
        "name": organization.name,
        "active": organization.is_active,
        "created_at": time_of(organization.created_at),
        "expires_at": time_of(organization.expires_at),
        "requests_per_minute": organization.requests_per_minute,
        **shown(organization.permissions),
    }
