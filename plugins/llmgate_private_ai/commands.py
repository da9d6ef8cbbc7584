"""`llmgate --config gate.toml vector-databases`: whether servers and keys agree on which databases there are."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click
import msgspec

from llmgate.plugin.api import ConfigError, SealedBox, Store, convert_table, load_config
from llmgate.plugin.kit.vector_databases import VectorServerFailed, VectorServers

from .keys import Keys
from .plugin import NAME
from .regions import Regions
from .settings import Settings

if TYPE_CHECKING:
    from llmgate.plugin.api import Config
    from llmgate.plugin.kit.vector_databases import ServerAddress


@dataclass(slots=True)
class Differences:
    """What was found, a line for each."""

    without_key: list[str] = field(default_factory=list)
    without_database: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    databases: int = 0

    @property
    def lines(self) -> list[str]:
        """All of it."""
        return [*self.without_key, *self.without_database, *self.unreachable]


async def compare(regions: Regions, keys: Keys, servers: VectorServers) -> Differences:
    """Ask every region's server, once each, which databases it has, and compare with the keys."""
    found = Differences()
    by_server: dict[ServerAddress, list[str]] = defaultdict(list)
    names: dict[int, ServerAddress] = {}
    for region in await regions.all():
        by_server[region.server].append(region.name)
        names[region.id] = region.server
    owners: dict[tuple[ServerAddress, str], int] = {}
    for key in await keys.all():
        if key.database_name is not None:
            owners[names[key.region_id], key.database_name] = key.id
    for address, called in by_server.items():
        where = f"{address.host}:{address.port} ({', '.join(called)})"
        try:
            there = await servers.at(address).databases()
        except VectorServerFailed as error:
            found.unreachable.append(f"{where}: {error}")
            continue
        found.databases += len(there)
        mine = {name for server, name in owners if server == address}
        found.without_key += [f"{where}: {name} belongs to no key" for name in sorted(there - mine)]
        found.without_database += [
            f"{where}: key {owners[address, name]} has no database {name}" for name in sorted(mine - there)
        ]
    return found


async def check(config: Config) -> Differences:
    """The differences of a gate's store and servers. Raises `ConfigError`, `StoreError`."""
    if NAME not in config.plugins or not config.store.sealing_keys:
        raise ConfigError([f"plugins.{NAME}: there is no such table, or no sealing_keys in [store]"])
    settings = convert_table(Settings, config.plugins[NAME].settings, f"plugins.{NAME}")
    box = SealedBox(key.reveal() for key in config.store.sealing_keys)
    servers = VectorServers(
        template=settings.vector_template,
        timeout=settings.database_timeout,
        at_once=settings.databases_at_once,
    )
    async with Store.open(config.store.url.reveal(), busy_timeout=config.store.busy_timeout) as store:
        return await compare(Regions(store, box), Keys(store, box), servers)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Look for vector databases without a key, and for keys without their database.

    The exit code is 1 if there are any, or a region's server does not answer.
    """
    found = asyncio.run(check(load_config(ctx.obj)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        ctx.exit(1 if found.lines else 0)
    for line in found.lines:
        click.echo(line, err=True)
    if not found.lines:
        click.echo(f"{found.databases} databases, each with its key")
    ctx.exit(1 if found.lines else 0)
