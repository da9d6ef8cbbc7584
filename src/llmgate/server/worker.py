"""One of several workers: serves on sockets that its supervisor has bound, and obeys it."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from ..config import load
from ..errors import ConfigError, StoreError
from ..gate.runtime import open_runtime
from .channel import Begin, Channel, Failed, Ready, Reload
from .listener import Listener
from .run import Process

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..config import Address, Config


class Inherited:
    """Sockets that the supervisor has bound, by the address that they listen on."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def add(self, addresses: Iterable[str], sockets: Iterable[socket.socket]) -> None:
        """Keep `sockets` until they are listened on."""
        self._sockets |= zip(addresses, sockets, strict=True)

    def listen(self, address: Address, _: Config) -> Listener:
        """Listen on `address`. Raises `ConfigError` if the supervisor does not know of it."""
        if str(address) not in self._sockets:
            raise ConfigError(
                [f"gate.listen: {address} is new: send SIGHUP to the supervisor, not to a worker"]
            )
        return Listener(address, self._sockets.pop(str(address)), owned=False)


def work(descriptor: int) -> None:
    """Serve as a worker whose supervisor is at the other end of the socket `descriptor`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(Channel(socket.socket(fileno=descriptor))))


async def _work(channel: Channel) -> None:
    begin, sockets = await channel.receive()
    assert isinstance(begin, Begin), "the supervisor begins with it"
    inherited = Inherited()
    inherited.add(begin.addresses, sockets)
    path = Path(begin.path)
    try:
        config = load(path, workers=begin.workers)
        async with (
            open_runtime(config, counters=Path(begin.counters)) as runtime,
            Process(path, runtime, listen=inherited.listen, warns=False) as process,
        ):
            await process.start(config)
            channel.send(Ready())
            following = asyncio.create_task(_follow(channel, process, inherited))
            await process.stopped()
            following.cancel()
    except (ConfigError, StoreError) as error:
        with suppress(OSError):  # the supervisor is gone: there is nobody to tell
            channel.send(Failed(str(error).splitlines()))
        sys.exit(2)


async def _follow(channel: Channel, process: Process, inherited: Inherited) -> None:
    """Reload when the supervisor asks for it, and stop when it is gone."""
    while True:
        try:
            message, sockets = await channel.receive()
        except EOFError:
            process.stop()
            return
        if isinstance(message, Reload):
            inherited.add(message.addresses, sockets)
            await process.reload()
