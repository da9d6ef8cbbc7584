"""`llmgate conformance`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..proxy.engines.base import Origin
from ..proxy.engines.httptools_engine import HttptoolsEngine
from ..tools.conformance import CASES, Case, Finding, Target, Verdict, examine, first_model
from .options import json_option
from .output import print_json

if TYPE_CHECKING:
    from ..proxy.engines.base import Engine

WORDS = {
    Verdict.SAME: "same",
    Verdict.OWN: "answered by the gate itself",
    Verdict.UNSTEADY: "unsteady",
    Verdict.DIFFERS: "DIFFERS",
}
"""A verdict as people read it."""


@click.command()
@click.argument("url")
@click.option("--through", required=True, metavar="GATE", help="The gate in front of it: its URL.")
@click.option("--key", metavar="K", envvar="LLMGATE_KEY", show_envvar=True, help="An API key of the gate.")
@click.option("--backend-key", metavar="K", help="The key that the backend itself asks for.")
@click.option("--model", metavar="NAME", help="The model to ask for; without it, the first that is listed.")
@click.option("--only", metavar="NAME", multiple=True, help="Only this request; may be given several times.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    url: str,
    through: str,
    key: str | None,
    backend_key: str | None,
    model: str | None,
    only: Sequence[str],
    as_json: bool,
) -> None:
    """Send requests to the backend at URL directly and through a gate, and compare the answers.

    Statuses, headers, bodies and events have to be the same byte for byte; ids, times and timings are
    masked. With a difference the exit code is 1. Give a key without limits or quotas, which would be seen.
    """
    if unknown := set(only) - {case.name for case in CASES}:
        raise click.UsageError(f"There is no request called {', '.join(sorted(unknown))}.")
    cases = [case for case in CASES if not only or case.name in only]
    sides = Target(Origin.parse(url), backend_key), Target(Origin.parse(through), key)
    findings = asyncio.run(_examine(*sides, cases, model, quiet=as_json))
    if as_json:
        print_json(findings)
    else:
        _summarise(findings)
    ctx.exit(any(finding.verdict is Verdict.DIFFERS for finding in findings))


async def _examine(
    backend: Target, gate: Target, cases: Sequence[Case], model: str | None, *, quiet: bool
) -> list[Finding]:
    engine: Engine = HttptoolsEngine()
    findings = []
    try:
        name = model or await first_model(engine, backend)
        for case in cases:
            finding = await examine(engine, backend, gate, case, name)
            findings.append(finding)
            if not quiet:
                _tell(finding)
    finally:
        await engine.aclose()
    return findings


def _tell(finding: Finding) -> None:
    why = f": {finding.why}" if finding.why else ""
    click.echo(f"{finding.name:30} {WORDS[finding.verdict]}{why}")
    for difference in finding.differences:
        click.echo(f"  {difference}")


def _summarise(findings: Sequence[Finding]) -> None:
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{counts[verdict]} {words}" for verdict, words in WORDS.items() if counts[verdict])
    click.echo(f"\n{len(findings)} requests: {summary}")
    if added := sorted(set().union(*(finding.added for finding in findings))):
        click.echo(f"Headers that the gate added: {', '.join(added)}")
