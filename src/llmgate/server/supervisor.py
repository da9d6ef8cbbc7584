"""Several workers under one supervisor, which binds the sockets, and starts anew what has died.

The supervisor serves nothing itself. Its sockets outlive every worker, so that a connection that comes
while a worker is down waits in its queue. SIGHUP, SIGTERM and SIGINT go to the supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import Process as Child
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ..config import Address, Config, load_with_warnings
from ..errors import ConfigError
from ..gate.routes import addresses_of
from ..plugin.warnings import told_at_start
from .channel import Begin, Channel, Failed, Ready, Reload
from .sockets import bind_for
from .tls import tls_context

log = logging.getLogger("llmgate")

WORKER_COMMAND = (sys.executable, "-m", "llmgate.server")
STEADY_AFTER_S = 10.0
"""Seconds that a worker must have run for its death to be no sign of a lasting fault."""
MAX_PAUSE_S = 30.0
KILL_AFTER_S = 15.0
"""Seconds over the grace of open requests after which a worker that does not end is killed."""


async def supervise(path: Path, config: Config, *, ready: Callable[[], None]) -> None:
    """Serve `config`, read from `path`, by its number of workers until SIGTERM or SIGINT.

    A second signal does not wait for streams. `ready` is called once all workers listen. Raises
    `ConfigError` with what a worker says that cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="llmgate-") as counters:
        async with Supervisor(path, config, Path(counters)) as supervisor:
            await supervisor.start()
            ready()
            await supervisor.stopped()


class _Worker:
    """A running worker: its process, and the line to it. `ready` is done when it listens or cannot."""

    def __init__(self, child: Child, channel: Channel) -> None:
        self.child = child
        self.channel = channel
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.problem: ConfigError | None = None
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            message, _ = await self.channel.receive()
        except EOFError:
            message = Failed(["a worker died before it listened"])
        if isinstance(message, Ready):
            self.ready.set_result(None)
        elif isinstance(message, Failed):
            self.problem = ConfigError(message.problems)
            self.ready.set_result(None)


class Supervisor:
    """Keeps workers alive; an async context manager that ends them all. `command` starts one."""

    def __init__(
        self, path: Path, config: Config, counters: Path, *, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        self._path = path
        self._config = config
        self._counters = counters
        self._command = command
        self._count = config.gate.workers
        self._sockets: dict[Address, list[socket.socket]] = {}
        self._workers: dict[int, _Worker] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._stop.is_set():
            self.stop()
        await asyncio.gather(*self._keepers)
        for address in list(self._sockets):
            self._release(address)

    async def start(self) -> None:
        """Bind, and start all workers. Raises `ConfigError` if that fails."""
        tls_context(self._config.gate)  # better here than in every worker
        for address in addresses_of(self._config):
            self._sockets[address] = self._bind(address, self._config)
        for index in range(self._count):
            await self._spawn(index)
            self._keepers.append(asyncio.create_task(self._keep(index)))
        first = list(self._workers.values())
        await asyncio.gather(*(worker.ready for worker in first))
        problems = [worker.problem for worker in first if worker.problem is not None]
        if problems and not self._stop.is_set():
            raise problems[0]

    def reload(self) -> None:
        """Have every worker take over gate.toml as it is now, if it can be used."""
        try:
            config, warnings = load_with_warnings(self._path, workers=self._count)
            warnings = told_at_start(self._path, config, warnings)
            fresh = sorted(addresses_of(config) - self._sockets.keys(), key=str)
            self._sockets |= {address: self._bind(address, config) for address in fresh}
        except ConfigError as error:
            log.warning("reload: the old gate stays:\n%s", error)
            return
        self._config = config
        for warning in warnings:
            log.warning("reload: %s", warning)
        for index, worker in self._workers.items():
            with suppress(OSError):  # it is dying: the next one reads the new file
                worker.channel.send(
                    Reload(list(map(str, fresh))), [self._sockets[address][index] for address in fresh]
                )
        for address in self._sockets.keys() - addresses_of(config):
            self._release(address)

    def stop(self) -> None:
        """Tell every worker to stop; the second time, not to wait for open streams."""
        self._stop.set()
        for worker in self._workers.values():
            _signal(worker.child, signal.SIGTERM)

    async def stopped(self) -> None:
        """Wait for SIGTERM or SIGINT."""
        await self._stop.wait()

    async def _keep(self, index: int) -> None:
        """Start the worker anew whenever it dies, after a pause that grows with each early death."""
        pause = 0.0
        while True:
            began = time.monotonic()
            worker = self._workers[index]
            status = await self._ended(worker.child)
            await worker.listening
            worker.channel.close()
            if self._stop.is_set():
                return
            lasted = time.monotonic() - began
            pause = 0.0 if lasted > STEADY_AFTER_S else min(MAX_PAUSE_S, 2 * pause + 0.5)
            why = worker.problem or _described(status)
            log.error("worker %d ended: %s; a new one starts in %g s", worker.child.pid, why, pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
                return
            await self._spawn(index)

    async def _ended(self, child: Child) -> int:
        """The status of a worker once it has ended; one that should stop and does not is killed."""
        ending = asyncio.create_task(child.wait())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ending.done():
            timeout = self._config.gate.shutdown_grace + KILL_AFTER_S
            await asyncio.wait([ending], timeout=timeout)
            if not ending.done():
                log.error("worker %d does not end and is killed", child.pid)
                _signal(child, signal.SIGKILL)
        return await ending

    async def _spawn(self, index: int) -> None:
        channel, theirs = Channel.pair()
        with theirs:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the supervisor
            )
        addresses = sorted(self._sockets, key=str)
        begin = Begin(str(self._path), self._count, str(self._counters), list(map(str, addresses)))
        channel.send(begin, [self._sockets[address][index] for address in addresses])
        self._workers[index] = _Worker(child, channel)
        if self._stop.is_set():
            _signal(child, signal.SIGTERM)

    def _bind(self, address: Address, config: Config) -> list[socket.socket]:
        return bind_for(address, self._count, beside=addresses_of(config), mode=config.gate.socket_mode)

    def _release(self, address: Address) -> None:
        for sock in self._sockets.pop(address):
            sock.close()
        if address.path is not None:
            address.path.unlink(missing_ok=True)


def _signal(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        child.send_signal(number)


def _described(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
