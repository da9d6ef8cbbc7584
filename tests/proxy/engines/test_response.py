"""An answer between the connection that fills it and its reader."""

import asyncio
from collections.abc import Awaitable

import pytest

from llmgate.exchange import Push
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


async def test_what_comes_is_pushed_on_at_once_and_wakes_nobody() -> None:
    response, pushed = Response(Fills()), []
    response.pieces.append(b"a")
    pumping = asyncio.ensure_future(response.pump(pushed.append))
    await asyncio.sleep(0)
    assert pushed == [b"a"]
    response.pieces += [b"b", b"c"]
    assert response.arrived()
    assert pushed == [b"a", b"bc"]
    await asyncio.sleep(0)
    assert not pumping.done()
    response.pieces.append(b"d")
    response.detach(None)
    assert await pumping is None  # the end is for who reads
    assert (await response.read(), response.ended, pushed) == (b"d", True, [b"a", b"bc"])


async def test_an_answer_that_is_there_is_read_at_once() -> None:
    response = Response(Fills())
    response.pieces += [b"a", b"b"]
    assert response.whole() is None
    response.detach(None)
    assert (response.whole(), response.ended) == (b"ab", True)


async def test_who_pumps_gets_what_a_piece_has_left_to_be_done_and_what_push_raises() -> None:
    response, done = Response(Fills()), []

    async def work(piece: bytes) -> None:
        done.append(piece)

    async def pushed(push: Push) -> Awaitable[None] | None:
        pumping = asyncio.ensure_future(response.pump(push))
        await asyncio.sleep(0)
        response.pieces.append(b"a")
        assert response.arrived()
        assert not response.arrived()  # meanwhile what comes waits
        return await pumping

    left = await pushed(work)
    assert left is not None
    assert done == []
    await left
    assert done == [b"a"]

    def fail(piece: bytes) -> None:
        raise LookupError(piece)

    left = await pushed(fail)
    assert left is not None
    with pytest.raises(LookupError):
        await left


async def test_work_that_nobody_will_do_any_more_is_dropped() -> None:
    response = Response(Fills())

    async def work(piece: bytes) -> None:
        raise AssertionError("not begun")

    pumping = asyncio.ensure_future(response.pump(work))
    await asyncio.sleep(0)
    response.pieces.append(b"a")
    response.arrived()
    pumping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pumping


async def test_a_pump_ends_where_the_answer_breaks_off() -> None:
    response = Response(Fills())
    pumping = asyncio.ensure_future(response.pump(lambda piece: None))
    await asyncio.sleep(0)
    response.detach(UpstreamBroke("gone"))
    assert await pumping is None
    with pytest.raises(UpstreamBroke):
        await response.read()


async def test_an_abort_ends_the_source_and_may_be_repeated() -> None:
    source = Fills()
    response = Response(source)
    response.abort()
    response.detach(source.failed[0])
    response.abort()
    assert [type(error) for error in source.failed] == [UpstreamBroke]


@pytest.mark.parametrize(
    ("name", "framed"), [(b"content-length", True), (b"transfer-encoding", True), (b"x", False)]
)
async def test_it_says_whether_its_head_tells_how_it_ends(name: bytes, framed: bool) -> None:
    response = Response(Fills())
    response.headers = [(name, b"1")]
    assert response.framed is framed
