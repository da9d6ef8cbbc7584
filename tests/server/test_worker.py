"""What a worker listens on: the sockets that its supervisor has bound."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from llmgate.config import Address, from_document
from llmgate.errors import ConfigError
from llmgate.server.worker import Inherited

CONFIG = from_document({}, file=Path("gate.toml"))


async def test_an_address_is_listened_on_by_the_socket_that_came_for_it_and_its_file_stays(
    tmp_path: Path,
) -> None:
    address = Address(path=tmp_path / "gate.sock")
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(address.path))
        bound.listen()
        inherited = Inherited()
        inherited.add([str(address)], [bound.dup()])
        listener = inherited.listen(address, CONFIG)
        await listener.stop()
        assert (tmp_path / "gate.sock").exists()  # it is the supervisor's: the other workers serve on


def test_an_address_that_the_supervisor_has_not_bound_is_said_and_how_to_have_it() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9 is new: send SIGHUP to the supervisor"):
        Inherited().listen(Address("127.0.0.1", 9), CONFIG)
