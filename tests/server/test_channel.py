"""The line between the supervisor and a worker."""

import asyncio
import socket
from contextlib import closing

import pytest
from servers import PATIENCE

from llmgate.server.channel import Channel, Failed, Ready, Reload


async def test_messages_come_as_they_were_sent_and_sockets_with_them() -> None:
    ours, end = Channel.pair()
    theirs = Channel(end)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        ours.send(Reload(["127.0.0.1:1"]), [listening])
        theirs.send(Failed(["gate.toml: bad"]))
        async with asyncio.timeout(PATIENCE):
            message, [passed] = await theirs.receive()
            answer, none = await ours.receive()
        with closing(passed):
            assert passed.getsockname() == listening.getsockname()
    assert (message, answer, none) == (Reload(["127.0.0.1:1"]), Failed(["gate.toml: bad"]), [])
    ours.close()
    theirs.close()


async def test_the_end_of_the_other_side_is_news() -> None:
    ours, end = Channel.pair()
    waiting = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    end.close()
    with pytest.raises(EOFError):
        await asyncio.wait_for(waiting, PATIENCE)
    with pytest.raises(OSError, match=r"."):
        ours.send(Ready())
    ours.close()
