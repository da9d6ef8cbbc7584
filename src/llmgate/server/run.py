"""`llmgate serve`: open everything, listen, reload on SIGHUP, and leave nothing behind on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from operator import attrgetter
from pathlib import Path
from typing import Self

from ..config import Address, Config, load_with_warnings
from ..config import Gate as GateSettings
from ..errors import ConfigError, StoreError
from ..gate.build import Gate, open_gate
from ..gate.routes import addresses_of
from ..gate.runtime import Runtime, open_runtime
from ..plugin.warnings import told_at_start
from .collector import Collector
from .descriptors import raise_descriptor_limit
from .limits import ConnectionLimits, servable
from .listener import Listener
from .log import count_dropped
from .measure import ServerMetrics
from .sockets import bind
from .tls import speaks_tls, tls_context

log = logging.getLogger("llmgate")

FIXED_SETTINGS = ("store", "ledger", "limits_store", "gate.workers")
"""What a reload does not touch."""


async def serve(path: Path, config: Config, *, ready: Callable[[], None]) -> None:
    """Serve `config`, read from `path`, in this process until SIGTERM or SIGINT.

    A second signal does not wait for streams. `ready` is called once it listens. Raises `ConfigError` and
    `StoreError` if it cannot start.
    """
    async with open_runtime(config) as runtime, Process(path, runtime) as process:
        await process.start(config)
        ready()
        await process.stopped()


SWITCH_INTERVAL_S = 0.001
"""For which another thread (ledger, reload) may keep the event loop from running; Python's own are 5 ms."""
SLOW_CALLBACK_S = 0.005
"""With PYTHONASYNCIODEBUG=1, what keeps the event loop for longer is named in the log."""
WARN_BELOW = 0.9
"""Of the connections that gate.toml allows; that the system allows fewer than this is said at the start."""

Listen = Callable[[Address, Config], Listener]


def listen(address: Address, config: Config) -> Listener:
    """Bind `address` of `config`. Raises `ConfigError` if it cannot be had."""
    sock = bind(address, beside=addresses_of(config), mode=config.gate.socket_mode)
    return Listener(address, sock)


class Process:
    """The running gate: which configuration is in force, and where it listens (by `listen`, on an address).

    With `warns` a reload tells what is good and probably not meant, as `serve` does at the start.

    Entered, it obeys SIGHUP (reload), SIGTERM and SIGINT (stop); left, it has answered what was open.
    """

    def __init__(self, path: Path, runtime: Runtime, *, listen: Listen = listen, warns: bool = True) -> None:
        self._path = path
        self._runtime = runtime
        self._listen = listen
        self._warns = warns
        self._descriptors = raise_descriptor_limit()
        self._warned_of: tuple[int, int] | None = None
        self._stop = asyncio.Event()
        self._listeners: dict[Address, Listener] = {}
        self._closing: set[Listener] = set()
        self._generation: tuple[Gate, AsyncExitStack] | None = None
        self._gates: set[Gate] = set()  # and those whose last requests are still under way
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._metrics = ServerMetrics(
            runtime.instruments, lambda: (*self._listeners.values(), *self._closing)
        )
        self._collector = Collector(lambda: sum(gate.in_flight for gate in self._gates))
        self._beside: list[asyncio.Task[None]] = []
        count_dropped(runtime.instruments.log_dropped("messages").inc)

    @property
    def gate(self) -> Gate:
        """The gate that takes new requests."""
        assert self._generation is not None, "start() comes first"
        return self._generation[0]

    @property
    def ports(self) -> dict[Address, int]:
        """The ports that are bound, also where gate.toml says 0."""
        return {address: listener.port for address, listener in self._listeners.items()}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))
        self._beside = [
            asyncio.create_task(self._metrics.run(), name="llmgate-measure"),
            asyncio.create_task(self._collector.run(), name="llmgate-collector"),
        ]
        if loop.get_debug():
            loop.slow_callback_duration = SLOW_CALLBACK_S
        return self

    async def __aexit__(self, *_: object) -> None:
        for address in list(self._listeners):
            self._stop_listening(address)
        async with self._reloading:
            if self._generation is not None:
                self._spawn(self._retire(*self._generation))
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        for task in self._beside:
            task.cancel()
        if self._beside:
            await asyncio.wait(self._beside)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # one that comes too late ends nothing that is being closed

    async def start(self, config: Config) -> None:
        """Open the gate and listen. Raises `ConfigError`."""
        await self._switch(config)
        self._collector.begin()
        sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def reload(self) -> None:
        """Take over gate.toml as it is now. A file with problems changes nothing; open streams go on."""
        async with self._reloading:
            if self._stop.is_set():
                return
            try:
                # In a thread, as it takes 15 ms: streams get their chunks meanwhile.
                config, warnings = await asyncio.to_thread(load_with_warnings, self._path)
                fixed = [
                    name
                    for name in FIXED_SETTINGS
                    if attrgetter(name)(config) != attrgetter(name)(self.gate.config)
                ]
                await self._switch(config)
            except (ConfigError, StoreError) as error:
                log.warning("reload: the old gate stays:\n%s", error)
            except Exception:  # a plugin may fail in any way; the gate goes on as it was
                log.exception("reload: the old gate stays")
            else:
                log.info("reload: %s is in force", self._path)
                for warning in told_at_start(self._path, config, warnings) if self._warns else ():
                    log.warning("reload: %s", warning)
                if fixed:
                    log.warning("reload: still as before until a restart: %s", ", ".join(fixed))

    def stop(self) -> None:
        """Let `stopped` return; the second time, do not wait for open streams either."""
        if self._stop.is_set():
            for listener in self._closing:
                listener.force_close()
        self._stop.set()

    async def stopped(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._stop.wait()

    async def _switch(self, config: Config) -> None:
        """Bind what is new, open the new gate, and only then let go of the old one."""
        wanted = addresses_of(config)
        fresh: list[Listener] = []
        stack = AsyncExitStack()
        try:
            tls = tls_context(config.gate)
            for address in wanted - self._listeners.keys():
                fresh.append(self._listen(address, config))
            gate = await stack.enter_async_context(open_gate(config, self._runtime))
        except BaseException:
            await stack.aclose()
            for listener in fresh:
                await listener.stop()
            raise
        old, self._generation = self._generation, (gate, stack)
        self._gates.add(gate)
        for address in self._listeners.keys() - wanted:
            self._stop_listening(address)
        self._listeners |= {listener.address: listener for listener in fresh}
        limits = self._limits(config.gate, len(wanted))
        for address, listener in self._listeners.items():
            await listener.serve(
                gate.apps[address],
                limits,
                grace=config.gate.shutdown_grace,
                tls=tls if speaks_tls(address, config.gate) else None,
            )
        if old is not None:
            self._spawn(self._retire(*old))

    def _limits(self, gate: GateSettings, addresses: int) -> ConnectionLimits:
        """What the file says, as far as the system lets this process have so many descriptors."""
        found = servable(self._descriptors) // addresses
        if found < gate.max_connections * WARN_BELOW and (found, gate.max_connections) != self._warned_of:
            self._warned_of = found, gate.max_connections
            log.warning(
                "%d file descriptors serve %d connections at each address, not gate.max_connections (%d): raise the "
                "limit (ulimit -Hn, LimitNOFILE=) or lower the setting",
                self._descriptors,
                found,
                gate.max_connections,
            )
        return ConnectionLimits.of_gate(gate, descriptors=self._descriptors, addresses=addresses)

    def _stop_listening(self, address: Address) -> None:
        listener = self._listeners.pop(address)
        self._closing.add(listener)
        self._spawn(self._leave(listener))

    async def _leave(self, listener: Listener) -> None:
        await listener.stop()
        self._closing.discard(listener)

    async def _retire(self, gate: Gate, stack: AsyncExitStack) -> None:
        """Close a gate that gets no new requests, once its last one has ended."""
        await gate.drained()
        self._gates.discard(gate)
        await stack.aclose()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
