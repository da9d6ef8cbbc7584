"""Listening sockets: whom they let in, and what they leave to others."""

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from llmgate.config import Address
from llmgate.errors import ConfigError
from llmgate.server.sockets import KEEPALIVE_OPTIONS, bind, bind_for

ANY_IPV4 = Address("0.0.0.0")  # noqa: S104


def connects(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        return client.connect_ex((host, port)) == 0


def test_both_families_have_a_socket_each_at_one_port() -> None:
    with closing(bind(ANY_IPV4)) as first:
        port = first.getsockname()[1]
        both = [Address("0.0.0.0", port), Address("::", port)]  # noqa: S104
        with closing(bind(both[1], beside=both)):
            assert connects("127.0.0.1", port)
            assert connects("::1", port)


def test_an_ipv6_address_alone_takes_ipv4_too() -> None:
    address = Address("::")
    with closing(bind(address, beside=[address, Address("0.0.0.0", 1)])) as sock:  # noqa: S104
        assert connects("127.0.0.1", sock.getsockname()[1])


def test_what_is_taken_is_said_with_its_address() -> None:
    with closing(bind(Address("127.0.0.1"))) as first:
        address = Address("127.0.0.1", first.getsockname()[1])
        with pytest.raises(ConfigError, match=rf"gate.listen: {address}: .*; stop what uses it"):
            bind(address)
        with pytest.raises(ConfigError, match="stop what uses it"):
            bind_for(address, 2)


def test_workers_share_a_port_with_a_queue_each() -> None:
    sockets = bind_for(Address("127.0.0.1"), 3)
    assert len({sock.getsockname() for sock in sockets}) == 1
    assert len({sock.fileno() for sock in sockets}) == 3
    for sock in sockets:
        sock.close()


def test_a_client_that_vanished_is_found_by_the_kernel() -> None:
    with closing(bind(Address("127.0.0.1"))) as sock, socket.create_connection(sock.getsockname()):
        sock.setblocking(True)
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for option, value in KEEPALIVE_OPTIONS.items():
                assert accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) == value


@pytest.mark.parametrize("mode", ["660", "0666", "600"])
def test_a_unix_socket_has_the_mode_that_was_asked_for(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "gate.sock"
    before = os.umask(0)
    os.umask(before)
    with closing(bind(Address(path=path), mode=mode)):
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert os.umask(before) == before


def test_a_socket_file_that_nobody_listens_on_is_taken_over_and_another_is_not(tmp_path: Path) -> None:
    address = Address(path=tmp_path / "gate.sock")
    bind(address).close()
    with closing(bind(address)), pytest.raises(ConfigError, match="another process listens there"):
        bind(address)
