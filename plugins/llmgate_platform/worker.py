"""`llmgate --config gate.toml train-worker`: a worker of its own, on any host that shares the store.

It needs the store and the folder of artifacts of the gate's gate.toml, and a Python with the extra `training`.
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
@click.pass_obj
def command(file: Path) -> None:
    """Take training jobs of the gate and train, until stopped.

    On any host that shares the store and the folder of artifacts with the gate. SIGTERM lets the trainer write a
    checkpoint and puts its job back.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    config = load_config(file)
    settings_of(config)
    os.nice(max(0, NICENESS - os.nice(0)))  # the gate and its users come first
    asyncio.run(work(config))
