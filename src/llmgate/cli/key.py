"""`llmgate key`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..identity.keys import PREFIX
from . import key_import
from .administration import Administration, administration
from .options import json_option
from .output import Row, print_json, say, show, time_of
from .permissions import CLEAR, END_USERS, changes_of, permission_options, shown

if TYPE_CHECKING:
    from ..identity import Key


@click.group()
def command() -> None:
    """Create, change, list and revoke API keys; bring those of LiteLLM along."""


command.add_command(key_import.command)


@command.command()
@click.argument("user")
@click.option("--name", required=True, help="What the key is for, to tell it from others.")
@click.option(
    "--organization", metavar="NAME", help="Spend this organization's quotas; USER must be a member."
)
@permission_options
@END_USERS
@click.option("--prefix", default=PREFIX, show_default=True, help="What the key begins with.")
@click.option("--quiet", is_flag=True, help="Print the key alone.")
@json_option
@administration
async def create(
    gate: Administration,
    /,
    user: str,
    *,
    name: str,
    organization: str | None,
    prefix: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a key for USER and print it, this once: only its hash is kept."""
    owner = await gate.user(user)
    wanted = changes_of(gate.store.clock(), **options)
    key, secret = await gate.identity.keys.create(
        owner.id,
        name,
        prefix=prefix,
        organization_id=None if organization is None else (await gate.organization(organization)).id,
        permissions=wanted.of(None),
        **wanted.beside,
    )
    if as_json:
        [row] = await _rows(gate, [key])
        print_json({**row, "secret": secret})
        return
    click.echo(secret)
    if not quiet:
        click.echo(f"Key {key.id} of {owner.username}. Keep it: it cannot be shown again.", err=True)


@command.command()
@click.argument("key_id", type=int, metavar="ID")
@permission_options
@END_USERS
@CLEAR
@json_option
@administration
async def update(gate: Administration, /, key_id: int, *, as_json: bool, **options: Any) -> None:
    """Change what the key ID may do: at once, also in a gate that runs. What is not named stays."""
    key, keys = await gate.key(key_id), gate.identity.keys
    changes = changes_of(gate.store.clock(), **options)
    async with gate.store.change() as db:
        if "requests_per_minute" in changes.beside:
            await keys.set_requests_per_minute(key_id, changes.beside["requests_per_minute"], db=db)
        if "expires_at" in changes.beside:
            await keys.set_expiry(key_id, changes.beside["expires_at"], db=db)
        key = await keys.set_permissions(key_id, changes.of(key.permissions), db=db)
    [row] = await _rows(gate, [key])
    say(f"Changed key {key.id}, {key.masked}.", row, as_json=as_json)


@command.command("list")
@click.option("--user", metavar="NAME", help="Only this user's.")
@click.option("--organization", metavar="NAME", help="Only this organization's.")
@json_option
@administration
async def list_keys(
    gate: Administration, *, user: str | None, organization: str | None, as_json: bool
) -> None:
    """List the keys that are not revoked, oldest first."""
    found = await gate.identity.keys.all()
    if user is not None:
        user_id = (await gate.user(user)).id
        found = [key for key in found if key.user_id == user_id]
    if organization is not None:
        organization_id = (await gate.organization(organization)).id
        found = [key for key in found if key.organization_id == organization_id]
    rows = await _rows(gate, found)
    columns = (
        "id",
        "key",
        "name",
        "user",
        "organization",
        "uses",
        "last_used_at",
        "expires_at",
        "created_at",
    )
    empty = "No keys yet: `llmgate key create USER --name NAME` makes one."
    show(rows, as_json=as_json, empty=empty, columns=columns)


@command.command()
@click.argument("key_id", type=int, metavar="ID")
@json_option
@administration
async def revoke(gate: Administration, key_id: int, *, as_json: bool) -> None:
    """Revoke the key ID for good: it stops at once, also in a gate that runs."""
    await gate.key(key_id)
    key = await gate.identity.keys.revoke(key_id)
    [row] = await _rows(gate, [key])
    say(f"Revoked key {key.id}, {key.masked}.", row, as_json=as_json)


async def _rows(gate: Administration, keys: Sequence[Key]) -> list[Row]:
    users = await gate.usernames(key.user_id for key in keys)
    organizations = await gate.organization_names(key.organization_id for key in keys)
    return [_row(key, users[key.user_id], organizations.get(key.organization_id)) for key in keys]


def _row(key: Key, user: str, organization: str | None) -> Row:
    return {
        "id": key.id,
        "uuid": key.uuid,
        "key": key.masked,
        "name": key.name,
        "user": user,
        "organization": organization,
        "uses": key.uses,
        "last_used_at": time_of(key.last_used_at),
        "expires_at": time_of(key.expires_at),
        "revoked_at": time_of(key.revoked_at),
        "created_at": time_of(key.created_at),
        "requests_per_minute": key.requests_per_minute,
        **shown(key.permissions),
        "names_end_users": key.permissions is not None and key.permissions.names_end_users,
    }
