"""An answer between the connection that fills it and its reader."""

import asyncio

import pytest

from llmgate.proxy.engines.base import UpstreamBroke
from llmgate.proxy.engines.response import Response


class Fills:
    """A source, and what it was told."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.resumed = 0
        self.failed: list[Exception] = []

    def resume_reading(self) -> None:
        self.resumed += 1

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


async def test_what_has_come_is_read_at_once_and_lets_the_source_go_on() -> None:
    source = Fills()
    response = Response(source)
    response.pieces += [b"a", b"b"]
    response.backlog = 2
    assert await response.read() == b"ab"
    assert (source.resumed, response.ended) == (1, False)


async def test_a_reader_waits_until_it_is_notified_and_then_for_the_end() -> None:
    response = Response(Fills())
    reading = asyncio.ensure_future(response.read())
    await asyncio.sleep(0)
    response.pieces.append(b"a")
    assert response.notify()
    assert await reading == b"a"
    assert not response.notify()  # nobody waits
    response.detach(None)
    assert (await response.read(), response.ended, response.source) == (b"", True, None)


async def test_an_error_comes_after_what_had_come() -> None:
    response = Response(Fills())
    response.pieces.append(b"a")
    response.detach(UpstreamBroke("gone"))
    assert await response.read() == b"a"
    with pytest.raises(UpstreamBroke, match="gone"):
        await response.read()


async def test_an_abort_ends_the_source_and_may_be_repeated() -> None:
    source = Fills()
    response = Response(source)
    response.abort()
    response.detach(source.failed[0])
    response.abort()
    assert [type(error) for error in source.failed] == [UpstreamBroke]


@pytest.mark.parametrize(
    ("name", "framed"), [(b"Content-Length", True), (b"Transfer-Encoding", True), (b"x", False)]
)
async def test_it_says_whether_its_head_tells_how_it_ends(name: bytes, framed: bool) -> None:
    response = Response(Fills())
    response.headers = [(name, b"1")]
    assert response.framed is framed
