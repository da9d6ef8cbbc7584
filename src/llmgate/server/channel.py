"""The line between the supervisor and a worker: messages in JSON, some with listening sockets.

Its end is news, too: a worker whose supervisor is gone stops.
"""

from __future__ import annotations

import asyncio
import socket

import msgspec

from ..errors import ConfigError

MAX_MESSAGE_BYTES = 65_536
MAX_SOCKETS = 250  # Linux passes on 253 at once


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a worker, first of all: serve `path`, count in the folder `counters`. With a socket per address."""

    path: str
    workers: int
    counters: str
    addresses: list[str]


class Reload(msgspec.Struct, frozen=True, tag=True):
    """To a worker: read the file again. With a socket for each address that is new."""

    addresses: list[str]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it listens."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it cannot start, and why."""

    problems: list[str]


Message = Begin | Reload | Ready | Failed


class Channel:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """This process's end, and the one to hand to a child. Raises `ConfigError` where there is no such thing."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise ConfigError(["gate.workers: this system cannot run several workers: write 1"]) from error
        return cls(ours), theirs

    def send(self, message: Message, sockets: list[socket.socket] | None = None) -> None:
        """Send without waiting. Raises `OSError` if nobody is there to receive."""
        content = msgspec.json.encode(message)
        socket.send_fds(self._end, [content], [each.fileno() for each in sockets or ()])

    async def receive(self) -> tuple[Message, list[socket.socket]]:
        """The next message and the sockets that came with it. Raises `EOFError` when the other side is gone."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._end, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._end)
        try:
            content, descriptors, _, _ = socket.recv_fds(self._end, MAX_MESSAGE_BYTES, MAX_SOCKETS)
        except ConnectionError as error:
            raise EOFError from error
        if not content:
            raise EOFError
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        return msgspec.json.decode(content, type=Message), sockets

    def close(self) -> None:
        """Hang up."""
        self._end.close()
