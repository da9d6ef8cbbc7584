"""`python -m llmgate_platform.worker --config gate.toml`: a worker of its own, on any host that shares the store.

It needs the store and the folder of artifacts of the gate's gate.toml, and a Python with the extra `training`.
SIGTERM and SIGINT let its trainer write a checkpoint and put the job back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmgate.plugin.api import ConfigError, Store, convert_table, load_config

from .artifacts import Artifacts
from .models import Catalog
from .plugin import NAME, worker_of
from .settings import Settings
from .training.jobs import Queue

if TYPE_CHECKING:
    from llmgate.plugin.api import Config

NICENESS = 10


async def work(config: Config) -> None:
    """Work until a signal says to stop. Raises `ConfigError` and `StoreError`."""
    settings = settings_of(config)
    async with Store.open(config.store.url.reveal(), busy_timeout=config.store.busy_timeout) as store:
        artifacts, catalog = Artifacts(settings.artifacts), Catalog(store, settings.models)
        worker = worker_of(settings, Queue(store), artifacts, catalog)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.run()


def settings_of(config: Config) -> Settings:
    """The plugin's table in gate.toml. Raises `ConfigError`."""
    if NAME not in config.plugins:
        raise ConfigError([f"plugins.{NAME}: there is no such table: this gate trains nothing"])
    return convert_table(Settings, config.plugins[NAME].settings, f"plugins.{NAME}")


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), default=Path("gate.toml"), show_default=True,
    help="The gate's file.",
)  # fmt: skip
def main(file: Path) -> None:
    """Take training jobs of the gate and train, until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = load_config(file)
        settings_of(config)
    except ConfigError as error:
        raise click.ClickException("\n".join(error.problems)) from error
    os.nice(max(0, NICENESS - os.nice(0)))  # the gate and its users come first
    asyncio.run(work(config))


if __name__ == "__main__":
    main()
