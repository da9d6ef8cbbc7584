"""Listening sockets: one for an address, or one for each of several workers."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Address

BACKLOG = 2048
KEEPALIVE_OPTIONS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Two minutes after a client has vanished without a word (no power, no network) the kernel says so."""


def bind(address: Address, *, beside: Collection[Address] = (), mode: str = "660") -> socket.socket:
    """A listening socket. Raises `ConfigError` if the address cannot be had.

    At an IPv6 address it takes IPv6 alone where `beside` has an IPv4 one of the same port, else both. `mode`,
    in octal, is that of a Unix socket's file.
    """
    try:
        if address.path is not None:
            return _listening(_bind_unix(address, int(mode, 8)))
        return _listening(_bind_tcp(address, beside))
    except OSError as error:
        raise _unavailable(address, error) from error


def bind_for(
    address: Address, workers: int, *, beside: Collection[Address] = (), mode: str = "660"
) -> list[socket.socket]:
    """A listening socket for each of several workers, among which the kernel spreads new connections.

    Sockets that share a port (SO_REUSEPORT) have queues of their own: no worker takes all of a burst, and
    what waits for a worker that died is answered by the one that takes its place. A Unix socket has one
    queue for all. Raises `ConfigError` if the address cannot be had.
    """
    first = bind(address, beside=beside, mode=mode)
    if address.path is not None:
        return [first, *(first.dup() for _ in range(workers - 1))]
    first.close()  # sharing the port would succeed beside another gate, too
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            port = sockets[0].getsockname()[1] if sockets else address.port
            sockets.append(_bind_tcp(replace(address, port=port), beside, shared=True))
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise _unavailable(address, error) from error
    return [_listening(sock) for sock in sockets]


def _listening(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _unavailable(address: Address, error: OSError) -> ConfigError:
    return ConfigError([f"gate.listen: {address}: {error.strerror}; stop what uses it or choose another"])


def _bind_tcp(address: Address, beside: Collection[Address], *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named, because asyncio sets TCP_NODELAY only on sockets that say what they speak.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit these
        for option, value in KEEPALIVE_OPTIONS.items():
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, _has_ipv4(beside, address.port))
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock


def _has_ipv4(addresses: Collection[Address], port: int) -> bool:
    return any(other.path is None and ":" not in other.host and other.port == port for other in addresses)


def _bind_unix(address: Address, mode: int) -> socket.socket:
    """A socket file that nobody listens on any more is left over from a process that was killed."""
    assert address.path is not None
    if address.path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            answered = probe.connect_ex(str(address.path)) == 0
        if answered:
            raise OSError(errno.EADDRINUSE, "another process listens there")
        address.path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # nobody connects before the mode is right
    try:
        sock.bind(str(address.path))
        address.path.chmod(mode)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock
