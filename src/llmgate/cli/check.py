"""`llmgate check`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import load_with_warnings, located
from ..errors import ConfigError, GateError, StoreError
from ..plugin.loader import migrations_of
from ..plugin.warnings import warnings_of
from ..store import pending
from .dry_run import dry_run
from .options import gate_file, json_option
from .output import print_json
from .stacks import Stack, stacks_of
from .store_file import empty_or_foreign, store_warnings, unusable

if TYPE_CHECKING:
    from ..config import Config


@dataclass(slots=True)
class Findings:
    """What a check found, one line each: good things, what is probably not meant, and what cannot work.

    `stacks` are the lists of middleware that requests would go through.
    """

    good: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)


@click.command()
@click.option(
    "--live",
    is_flag=True,
    help="Ask what the gate needs as well: upstreams, stores, addresses, certificates.",
)
@click.option("--upstreams", "with_upstreams", is_flag=True, help="Of these, ask the upstreams alone.")
@json_option
@click.pass_context
@gate_file
def command(path: Path, ctx: click.Context, *, live: bool, with_upstreams: bool, as_json: bool) -> None:
    """Say whether gate.toml can be served, and every problem if not.

    Reads the file, builds the gate with its plugins, prints the middleware that stands around each route, and
    looks at a store on this host without changing it. Nobody is asked anything without --live. With a problem
    the exit code is 2; warnings leave it at 0.
    """
    findings = asyncio.run(_check(path, live=live, with_upstreams=with_upstreams))
    findings.warnings = located(path, findings.warnings)
    findings.problems = located(path, findings.problems)
    if as_json:
        print_json(findings)
    else:
        for line in findings.good:
            click.echo(line)
        if findings.stacks:
            click.echo("middleware, from the outside in:")
        for stack in findings.stacks:
            click.echo(f"  {stack}")
        for line in findings.warnings:
            click.echo(f"warning: {line}", err=True)
        for line in findings.problems:
            click.echo(line, err=True)
    ctx.exit(2 if findings.problems else 0)


async def _check(path: Path, *, live: bool, with_upstreams: bool) -> Findings:
    findings = Findings()
    try:
        config, findings.warnings = load_with_warnings(path)
        if live or config.store.url.scheme == "sqlite":
            await _check_store(config, findings)
        async with dry_run(config) as gate:
            findings.warnings += warnings_of(config)
            counts = {"routes": config.routes, "upstreams": config.upstreams, "plugins": config.plugins}
            found = ", ".join(f"{name}: {len(things)}" for name, things in counts.items())
            findings.good.append(f"{path}: good ({found})")
            findings.stacks = [*stacks_of(gate)]
            if live or with_upstreams:
                from .live import check_live, check_upstreams  # noqa: PLC0415 - it needs what serving needs

                upstreams = gate.services.upstreams.values()
                await check_upstreams(config, upstreams, findings)
                if live:
                    await check_live(config, findings)
    except ConfigError as error:
        findings.problems += error.problems
    except GateError as error:
        findings.problems.append(str(error))
    return findings


async def _check_store(config: Config, findings: Findings) -> None:
    """A store that is not there or behind is no problem: `llmgate serve` makes it ready."""
    if (problem := unusable(config.store)) is not None:
        findings.problems.append(problem)
        return
    try:
        problem, warning = empty_or_foreign(config.store)
        waiting = await pending(config.store.url.reveal(), sets=migrations_of(config))
    except StoreError as error:
        findings.problems.append(str(error))
        return
    findings.problems += [problem] if problem else []
    findings.warnings += [warning] if warning else []
    behind = f"`llmgate serve` or `llmgate migrate` will apply {', '.join(waiting)}"
    findings.warnings += await store_warnings(config)
    findings.good.append(f"store: {behind if waiting else 'reachable, and its tables are as needed'}")
