"""`llmgate serve`: open everything, listen, reload on SIGHUP, and leave nothing behind on SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from ..app import Gate, open_gate
from ..config import Address, Config, load
from ..core import Core, open_core
from ..errors import ConfigError, StoreError
from ..store import migrate
from .listener import Listener

log = logging.getLogger("llmgate")

DRAIN_EVERY = 0.5
FIXED = ("store", "redis")
"""Tables that a reload does not touch."""


def serve(path: Path, *, ready: Callable[[Gate], None] | None = None) -> None:
    """Serve the gate of gate.toml at `path` until SIGTERM or SIGINT. `ready` is called once it listens.

    Raises `ConfigError` and `StoreError` if it cannot start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(path, ready))


async def _serve(path: Path, ready: Callable[[Gate], None] | None) -> None:
    config = load(path)
    await migrate(config.store.url.reveal())
    async with open_core(config) as core, Process(path, core) as process:
        await process.start(config)
        if ready is not None:
            ready(process.gate)
        await process.stopped()


class Process:
    """The running gate: which configuration is in force, and where it listens."""

    def __init__(self, path: Path, core: Core) -> None:
        self._path = path
        self._core = core
        self._stop = asyncio.Event()
        self._force = False
        self._listeners: dict[Address, Listener] = {}
        self._generation: tuple[Gate, AsyncExitStack] | None = None
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def gate(self) -> Gate:
        """The gate that takes new requests."""
        assert self._generation is not None, "start() comes first"
        return self._generation[0]

    async def __aenter__(self) -> Process:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ask_to_stop)
        loop.add_signal_handler(signal.SIGINT, self._ask_to_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(listener.stop(force=self._force) for listener in self._listeners.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._generation is not None:
            await self._generation[1].aclose()

    async def start(self, config: Config) -> None:
        """Open the gate and listen."""
        await self._switch(config)
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again

    async def reload(self) -> None:
        """Take over gate.toml as it is now. A file with problems changes nothing; open streams go on."""
        async with self._reloading:
            try:
                config = load(self._path)
                if fixed := [name for name in FIXED if _differs(config, self.gate.config, name)]:
                    log.warning(
                        "reload: %s changed: this needs a restart", ", ".join(f"[{name}]" for name in fixed)
                    )
                await self._switch(config)
            except (ConfigError, StoreError) as error:
                log.error("reload: the old gate stays:\n%s", error)
            else:
                log.info("reload: %s is in force", self._path)

    async def stopped(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._stop.wait()

    async def _switch(self, config: Config) -> None:
        stack = AsyncExitStack()
        async with stack:
            gate = await stack.enter_async_context(open_gate(config, self._core))
            fresh = {
                address: Listener(address, config.gate, app)
                for address, app in gate.apps.items()
                if address not in self._listeners
            }
            kept = stack.pop_all()
        old, self._generation = self._generation, (gate, kept)
        gone = [self._listeners.pop(address) for address in list(self._listeners) if address not in gate.apps]
        for address, listener in self._listeners.items():
            listener.app = gate.apps[address]
        self._listeners |= fresh
        for listener in fresh.values():
            listener.start()
        for listener in gone:
            self._spawn(listener.stop())
        if old is not None:
            self._spawn(_retire(*old))

    def _ask_to_stop(self) -> None:
        self._force = self._stop.is_set()
        self._stop.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _retire(gate: Gate, stack: AsyncExitStack) -> None:
    """Close a gate that gets no new requests, once its last one has ended."""
    try:
        while gate.in_flight:
            await asyncio.sleep(DRAIN_EVERY)
    finally:
        await stack.aclose()


def _differs(new: Config, old: Config, name: str) -> bool:
    return bool(getattr(new, name) != getattr(old, name))
