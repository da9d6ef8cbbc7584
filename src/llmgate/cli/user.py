"""`llmgate user`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..identity import ADMIN
from ..identity.users import MAX_PAGE
from .administration import Administration, administration
from .options import json_option, password_option
from .output import Row, say, show, show_one, time_of

if TYPE_CHECKING:
    from ..identity import User


@click.group()
def command() -> None:
    """Add users, change them, and list them.

    NAME is a user's name, in whatever case. What changes holds at once, also in a gate that runs.
    """


@command.command()
@click.argument("name")
@click.option("--email", help="E-mail address. A NAME with an @ is one already.")
@click.option("--admin", is_flag=True, help="May administer the whole gate.")
@password_option
@json_option
@administration
async def add(
    gate: Administration, name: str, *, email: str | None, admin: bool, password: str | None, as_json: bool
) -> None:
    """Add the user NAME."""
    roles = [ADMIN] if admin else []
    user = await gate.identity.users.register(name, password, email=email, roles=roles)
    say(f"Added {user.username}, user {user.id}.", _row(user), as_json=as_json)


@command.command("list")
@click.option("--search", default="", metavar="TEXT", help="Only those with TEXT in their name or address.")
@json_option
@administration
async def list_users(gate: Administration, *, search: str, as_json: bool) -> None:
    """List the users, oldest first."""
    rows: list[Row] = []
    while page := await gate.identity.users.search(search, limit=MAX_PAGE, offset=len(rows)):
        rows += map(_row, page)
    empty = "No such users." if search else "No users yet: `llmgate user add NAME` adds one."
    columns = ("id", "username", "email", "roles", "active", "created_at")
    show(rows, as_json=as_json, empty=empty, columns=columns)


@command.command("show")
@click.argument("name")
@json_option
@administration
async def show_user(gate: Administration, name: str, *, as_json: bool) -> None:
    """Show the user NAME."""
    user = await gate.user(name)
    memberships = await gate.identity.organizations.of_user(user.id)
    organizations = [membership.organization.name for membership in memberships]
    show_one({**_row(user), "organizations": organizations}, as_json=as_json)


@command.command()
@click.argument("name")
@click.argument("role")
@json_option
@administration
async def grant(gate: Administration, name: str, role: str, *, as_json: bool) -> None:
    """Give the user NAME the role ROLE, such as admin."""
    await gate.identity.users.grant((await gate.user(name)).id, role)
    await _say(gate, name, f"has the role {role} now.", as_json=as_json)


@command.command()
@click.argument("name")
@click.argument("role")
@json_option
@administration
async def revoke(gate: Administration, name: str, role: str, *, as_json: bool) -> None:
    """Take the role ROLE from the user NAME."""
    await gate.identity.users.revoke((await gate.user(name)).id, role)
    await _say(gate, name, f"does not have the role {role} now.", as_json=as_json)


@command.command()
@click.argument("name")
@json_option
@administration
async def deactivate(gate: Administration, name: str, *, as_json: bool) -> None:
    """Keep out the user NAME: keys stop at once, sessions end for good."""
    await gate.identity.users.set_active((await gate.user(name)).id, False)
    await _say(gate, name, "is kept out now.", as_json=as_json)


@command.command()
@click.argument("name")
@json_option
@administration
async def activate(gate: Administration, name: str, *, as_json: bool) -> None:
    """Let the user NAME in again, with the keys of before."""
    await gate.identity.users.set_active((await gate.user(name)).id, True)
    await _say(gate, name, "is let in now.", as_json=as_json)


@command.command()
@click.argument("name")
@json_option
@administration
async def logout(gate: Administration, name: str, *, as_json: bool) -> None:
    """End all sessions of the user NAME, at once. Keys stay."""
    await gate.identity.sessions.revoke_all((await gate.user(name)).id)
    await _say(gate, name, "is logged out everywhere now.", as_json=as_json)


@command.command("password")
@click.argument("name")
@password_option
@json_option
@administration
async def set_password(gate: Administration, name: str, *, password: str | None, as_json: bool) -> None:
    """Set the password of the user NAME, or remove it. Open sessions end."""
    await gate.identity.users.set_password((await gate.user(name)).id, password)
    done = "has no password now." if password is None else "has a new password now."
    await _say(gate, name, done, as_json=as_json)


async def _say(gate: Administration, name: str, done: str, *, as_json: bool) -> None:
    user = await gate.user(name)
    say(f"{user.username} {done}", _row(user), as_json=as_json)


def _row(user: User) -> Row:
    return {
        "id": user.id,
        "uuid": user.uuid,
        "username": user.username,
        "email": user.email,
        "roles": sorted(user.roles),
        "active": user.is_active,
        "created_at": time_of(user.created_at),
    }
