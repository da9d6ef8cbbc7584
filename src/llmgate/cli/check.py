"""`llmgate check`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx

from ..backends.dialect import DIALECTS
from ..config import Config, load
from ..errors import ConfigError, StoreError
from ..plugin.loader import migrations_of
from ..proxy.health import HealthSettings, probe
from ..store import pending
from .dry_run import dry_run
from .options import gate_file, json_option
from .output import print_json

if TYPE_CHECKING:
    from ..proxy.upstreams import Upstream


@dataclass(slots=True)
class Findings:
    """What a check found: good things, and problems, either of which is one line each."""

    good: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@click.command()
@click.option(
    "--upstreams", "with_upstreams", is_flag=True, help="Ask every replica of every upstream as well."
)
@json_option
@click.pass_context
@gate_file
def command(path: Path, ctx: click.Context, *, with_upstreams: bool, as_json: bool) -> None:
    """Say whether gate.toml can be served, and every problem if not.

    Reads the file, builds the gate with its plugins, and looks at the store without changing it. With a
    problem the exit code is 2.
    """
    findings = asyncio.run(_check(path, with_upstreams=with_upstreams))
    if as_json:
        print_json(findings)
    else:
        for line in findings.good:
            click.echo(line)
        for line in findings.problems:
            click.echo(line, err=True)
    ctx.exit(2 if findings.problems else 0)


async def _check(path: Path, *, with_upstreams: bool) -> Findings:
    findings = Findings()
    try:
        config = load(path)
    except ConfigError as error:
        findings.problems += error.problems
        return findings
    try:
        await _check_store(config, findings)
        async with dry_run(config) as gate:
            counts = {"routes": config.routes, "upstreams": config.upstreams, "plugins": config.plugins}
            found = ", ".join(f"{name}: {len(things)}" for name, things in counts.items())
            findings.good.append(f"{path}: good ({found})")
            if with_upstreams:
                await _check_upstreams(config, gate.services.upstreams.values(), findings)
    except ConfigError as error:
        findings.problems += error.problems
    return findings


async def _check_store(config: Config, findings: Findings) -> None:
    """A store that is not there or behind is no problem: `llmgate serve` makes it ready."""
    try:
        waiting = await pending(config.store.url.reveal(), sets=migrations_of(config))
    except StoreError as error:
        findings.problems.append(str(error))
    else:
        behind = f"`llmgate serve` or `llmgate migrate` will apply {', '.join(waiting)}"
        findings.good.append(f"store: {behind if waiting else 'reachable, and its tables are as needed'}")


async def _check_upstreams(config: Config, upstreams: Iterable[Upstream], findings: Findings) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for upstream in upstreams:
            settings = config.upstreams[upstream.name]
            if settings.is_asgi_app:
                findings.good.append(f"upstreams.{upstream.name}: the app that the gate is put around")
                continue
            dialect = DIALECTS[settings.dialect]
            path = settings.health.path or dialect.health_path or dialect.models_path
            health = HealthSettings(path, timeout=settings.health.timeout)
            for replica in upstream.replicas:
                found = await probe(upstream, replica, health, http=http)
                line = f"upstreams.{upstream.name}: {replica.origin.url}{path}: {found.message}"
                (findings.good if found.good else findings.problems).append(line)
