"""Does the ledger agree with the backends? Compares its tokens with an upstream's own Prometheus counters.

A request that runs while a window begins or ends is counted by the backend as it goes and by the ledger at
its end, so single windows of a busy upstream differ by what was under way; their sum must not. What reaches
a backend past the gate is drift that stays, and so is anything the gate missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..backends.dialect import DIALECTS
from ..background import running
from ..errors import GateError, StoreError, UpstreamFailed
from ..ledger import Filter, Reports

if TYPE_CHECKING:
    from ..backends.dialect import Dialect
    from ..config import Config, Upstream
    from ..proxy.replica import Replica
    from ..proxy.upstreams import Upstream as Served
    from .metrics import Instruments

log = logging.getLogger("llmgate")

METRICS_PATH = "/metrics"
SETTLE_FOR = 5.0
"""Seconds after a window's end by which its records are in the ledger."""
TIMEOUT = 10.0

Sleep = Callable[[float], Awaitable[None]]


class Tokens(NamedTuple):
    """Tokens by direction."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What an upstream and the ledger have counted in one window."""

    upstream: str
    backend: Tokens
    ledger: Tokens

    @property
    def drift(self) -> Tokens:
        """What the upstream has counted over what the ledger has."""
        return Tokens(self.backend.input - self.ledger.input, self.backend.output - self.ledger.output)


def comparable(config: Config) -> dict[str, Upstream]:
    """The upstreams whose backends count tokens themselves."""
    return {
        name: settings
        for name, settings in config.upstreams.items()
        if DIALECTS[settings.dialect].prompt_counter is not None
    }


async def compare(
    upstream: Served,
    reports: Reports,
    *,
    window: float,
    clock: Callable[[], float] = time.time,
    sleep: Sleep = asyncio.sleep,
) -> Comparison:
    """Count for `window` seconds on both sides. Raises `UpstreamFailed` where a replica cannot be asked.

    Where a backend counts a prompt once for each of its choices (`Dialect.counts_prompts_per_choice`), the ledger's
    number is what such a backend would have counted.
    """
    name = upstream.name
    before, since = await _counted(upstream), clock()
    await sleep(window)
    after, until = await _counted(upstream), clock()
    if any(
        new < old for was, now in zip(before, after, strict=True) for old, new in zip(was, now, strict=True)
    ):
        raise UpstreamFailed(f'upstream "{name}": its counters fell: a replica was restarted. Compare again.')
    await sleep(SETTLE_FOR)
    which = Filter(upstream=name, since=since, until=until)
    totals = await reports.totals(which)
    repeats = upstream.dialect.counts_prompts_per_choice
    again = await reports.repeated_tokens(which) if repeats else 0
    grown = [
        Tokens(now.input - was.input, now.output - was.output) for was, now in zip(before, after, strict=True)
    ]
    backend = Tokens(sum(each.input for each in grown), sum(each.output for each in grown))
    return Comparison(name, backend, Tokens(totals.input_tokens + again, totals.output_tokens))


@asynccontextmanager
async def comparing(
    config: Config,
    served: Mapping[str, Served],
    reports: Reports,
    instruments: Instruments,
) -> AsyncIterator[None]:
    """Compare one window after the other, and show the drift of the latest as a metric.

    Windows begin at multiples of the interval on the clock: several workers compare the same ones, and agree.
    """
    interval = config.reconcile.interval
    upstreams = comparable(config) if interval is not None else {}

    async def watch(name: str, window: float) -> None:
        while True:
            pause, counted = next_window(time.time(), window)
            await asyncio.sleep(pause)
            try:
                comparison = await compare(served[name], reports, window=counted)
            except (UpstreamFailed, StoreError) as error:
                log.warning("reconcile: %s", error)
                continue
            for direction, tokens in comparison.drift._asdict().items():
                instruments.drift(name, direction, tokens)

    async with AsyncExitStack() as stack:
        for name in upstreams:
            assert interval is not None
            watching = watch(name, interval)
            await stack.enter_async_context(running(watching, name=f"llmgate-reconcile-{name}"))
        yield


def next_window(now: float, interval: float) -> tuple[float, float]:
    """Seconds until the next multiple of `interval`, and for how long to count then: the one after begins in time."""
    return interval - now % interval, max(interval / 2, interval - SETTLE_FOR - 1.0)


async def _counted(upstream: Served) -> list[Tokens]:
    """What each replica has counted since it was started."""

    async def ask(replica: Replica) -> Tokens:
        try:
            answer = await upstream.ask(replica, METRICS_PATH, timeout=TIMEOUT)
            return read_counters(answer.body().decode(errors="replace"), upstream.dialect)
        except (GateError, ValueError) as error:
            where = f"{replica.origin.url}{METRICS_PATH}"
            raise UpstreamFailed(f'upstream "{upstream.name}": {where}: {error}') from error

    return list(await asyncio.gather(*map(ask, upstream.replicas)))


def read_counters(text: str, dialect: Dialect) -> Tokens:
    """The tokens in a backend's metrics, summed over labels. Raises `UpstreamFailed` if they are not there."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - 5 ms at start

    wanted = {dialect.prompt_counter, dialect.cached_counter, dialect.output_counter} - {None}
    sums = dict.fromkeys(wanted, 0.0)
    seen = set()
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in wanted:
                    seen.add(sample.name)
                    sums[sample.name] += sample.value
    except ValueError as error:
        raise UpstreamFailed(f"what it answers are no metrics: {error}") from error
    if missing := wanted - seen:
        raise UpstreamFailed(f"it has no {' and no '.join(sorted(map(str, missing)))}")
    output = int(sums.pop(dialect.output_counter))
    return Tokens(int(sum(sums.values())), output)
