"""Building the gate of a gate.toml without serving it, to see whether it can be built and what it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from ..config import Config, LimitsStore, SecretUrl, Store
from ..gate.build import Gate, open_gate
from ..gate.runtime import open_runtime
from ..plugin.loader import migrations_of
from ..store import migrate


async def _nobody(*_: object) -> None:
    """In the place of the app that the gate will be put around: a dry run asks no upstream."""


@asynccontextmanager
async def dry_run(config: Config) -> AsyncIterator[Gate]:
    """The gate of `config`, built as `llmgate serve` builds it, but on an empty store of its own.

    It neither listens nor asks the upstreams how they are. Raises `ConfigError` for what only building
    shows: plugins that are not installed, their settings, routes that clash.
    """
    with TemporaryDirectory(prefix="llmgate-") as folder:
        url = f"sqlite:///{Path(folder, 'dry-run.db')}"
        await migrate(url, sets=migrations_of(config))
        alone = replace(
            config,
            gate=replace(config.gate, access_log=False, workers=1),
            store=Store(url=SecretUrl(url), sealing_keys=config.store.sealing_keys),
            limits_store=LimitsStore(),
        )
        async with (
            open_runtime(alone, inner=_nobody) as runtime,
            open_gate(alone, runtime, watch=False) as gate,
        ):
            yield gate
