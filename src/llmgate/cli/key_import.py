"""`llmgate key import`: keys that LiteLLM has given out go on, by their hashes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Conflict, NotFound, Refusal, StoreError, extra_remedy
from ..identity.validation import name_of, username_of
from ..ledger import Allotment, Subject, Unit
from ..tools.litellm_keys import PREFIX, ReadKeys, read_keys
from .administration import Administration, administration
from .options import json_option
from .output import print_json

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ..identity import Key, Organization
    from ..tools.litellm_keys import ForeignKey

KEYS = 'SELECT * FROM "LiteLLM_VerificationToken" ORDER BY created_at, token'
TEAMS = 'SELECT team_id, team_alias FROM "LiteLLM_TeamTable" WHERE team_alias IS NOT NULL'
URLS = ("postgresql://", "postgres://")
OWNER = "litellm"

Rows = Sequence[Mapping[str, Any]]


@click.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--widen", is_flag=True, help="Take keys, too, whose restrictions the gate cannot hold.")
@click.option("--user", default=OWNER, show_default=True, help="Whose keys are those of no user and no team.")
@json_option
@administration
async def command(
    gate: Administration, source: str, *, dry_run: bool, widen: bool, user: str, as_json: bool
) -> None:
    """Bring along the keys of LiteLLM, which stay as they are: only their hashes are read.

    SOURCE is LiteLLM's database (postgresql://...), or an export of its table LiteLLM_VerificationToken as JSON or
    CSV. Users and organizations (teams) are made where there are none of these names. Keys that are here already
    stay as they are, so that it can be done again. What has no counterpart is told; a key that would open more than
    before is left out.
    """
    rows, teams = await _read(source)
    found = read_keys(rows, now=gate.store.clock(), widen=widen, teams=teams)
    importer = Importer(gate, owner=user, dry_run=dry_run)
    for key in found.keys:
        try:
            await importer.take(key)
        except Refusal as error:
            found.left_out.append(f"{key.name}: {error}")
    _tell(gate, importer, found, as_json=as_json)


class Importer:
    """Takes keys over, one by one; whatever ends it, doing it again goes on from there."""

    def __init__(self, gate: Administration, *, owner: str, dry_run: bool) -> None:
        self._gate = gate
        self._owner = owner
        self.dry_run = dry_run
        self.taken: list[str] = []
        self.there: list[str] = []
        self.made: dict[str, None] = {}
        """Users and organizations, in the order in which they were made."""

    async def take(self, key: ForeignKey) -> None:
        """Take a key over, unless it is here. Raises `Refusal` for what the gate does not take."""
        keys = self._gate.identity.keys
        if await keys.by_hash(key.hash) is not None:
            self.there.append(key.name)
            return
        organization = None if key.team is None else await self._organization(key.team)
        user_id = await self._user(key, organization)
        if self.dry_run:
            self.taken.append(key.name)
            return

        async def with_budget(db: AsyncConnection, made: Key, _: str) -> None:
            if key.budget is not None:
                allotment = Allotment(Unit.MONEY, key.budget, window=key.window, anchor=key.anchor)
                await self._gate.quotas.give(db, Subject("key", made.id), allotment, used=key.spent)

        try:
            await keys.adopt(
                key.hash,
                key.name,
                prefix=PREFIX,
                last_four=key.last_four,
                user_id=user_id,
                organization_id=None if organization is None else organization.id,
                expires_at=key.expires_at,
                requests_per_minute=key.requests_per_minute,
                permissions=key.permissions,
                also=with_budget,
            )
        except Conflict:  # somebody else is importing the same
            self.there.append(key.name)
        else:
            self.taken.append(key.name)

    async def _organization(self, name: str) -> Organization | None:
        organizations = self._gate.identity.organizations
        try:
            return await organizations.by_name(name)
        except NotFound:
            self.made[f"organization {name_of('name', name)}"] = None
            return None if self.dry_run else await organizations.create(name)

    async def _user(self, key: ForeignKey, organization: Organization | None) -> int | None:
        """Whose key it is; None for one of an organization itself."""
        if key.user is None and key.team is not None:
            return None
        users, name = self._gate.identity.users, username_of(key.user or self._owner)
        try:
            user_id = (await users.by_username(name)).id
        except NotFound:
            self.made[f"user {name}"] = None
            if self.dry_run:
                return None
            user_id = (await users.register(name, None)).id
        if organization is not None and not self.dry_run:
            await self._join(organization.id, user_id)
        return user_id

    async def _join(self, organization_id: int, user_id: int) -> None:
        organizations = self._gate.identity.organizations
        mine = await organizations.of_user(user_id)
        if organization_id not in {membership.organization.id for membership in mine}:
            await organizations.add_member(organization_id, user_id)


async def _read(source: str) -> tuple[Rows, Mapping[str, str]]:
    """The rows of a source, and the names of teams by their id. Raises `StoreError`, `click.UsageError`."""
    if source.startswith(URLS):
        return await _read_database(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")  # noqa: ASYNC240 - nothing else runs in a command
        if text.lstrip().startswith(("[", "{")):
            return _rows_of(json.loads(text)), {}
        return list(csv.DictReader(text.splitlines())), {}
    except OSError as error:
        raise click.UsageError(
            f"{source}: {error.strerror}. Name LiteLLM's database (postgresql://...) or an export of it."
        ) from error
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise click.UsageError(f"{source}: neither JSON nor CSV: {error}") from error


def _rows_of(document: Any) -> Rows:
    """A list of rows, or what LiteLLM's `GET /key/list?return_full_object=true` answers."""
    rows = document.get("keys") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError('expected a list of objects, or {"keys": [...]} with such a list')
    return rows


async def _read_database(url: str) -> tuple[Rows, Mapping[str, str]]:
    try:
        import asyncpg  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StoreError(f"PostgreSQL needs asyncpg: {extra_remedy('cluster')}") from error
    try:
        conn = await asyncpg.connect(url)
        try:
            async with conn.transaction(readonly=True):
                rows = [dict(row) for row in await conn.fetch(KEYS)]
                teams = {row["team_id"]: row["team_alias"] for row in await conn.fetch(TEAMS)}
        finally:
            await conn.close()
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreError(f"LiteLLM's database cannot be read: {error}") from error
    return rows, teams


def _tell(gate: Administration, importer: Importer, found: ReadKeys, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "dry_run": importer.dry_run,
                "imported": importer.taken,
                "there_already": importer.there,
                "made": list(importer.made),
                "left_out": found.left_out,
                "not_taken_over": found.report,
            }
        )
        return
    for made in importer.made:
        click.echo(f"{'would make' if importer.dry_run else 'made'} {made}")
    verb = "would be imported" if importer.dry_run else "imported"
    click.echo(f"{len(importer.taken)} keys {verb}, {len(importer.there)} were there already")
    for line in found.left_out:
        click.echo(f"left out: {line}", err=True)
    for line in found.report:
        click.echo(f"not taken over: {line}", err=True)
    if any(key.budget is not None for key in found.keys) and not gate.config.prices:
        click.echo(
            "warning: gate.toml has no prices, so no money is ever spent: add [prices.MODEL]", err=True
        )
