"""The load and the backend of the benchmarks, against each other on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from benchmarks.backend import Backend, event, plain
from benchmarks.figures import body
from benchmarks.load import Load, Run, Spread
from servers import Peer, ScriptedUpstream

pytestmark = pytest.mark.anyio
SHORT = 0.02


@asynccontextmanager
async def backend() -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_plain_answers_are_counted() -> None:
    """Each connection asks again when it has its answer; a body of 32 kB comes in several pieces."""
    async with backend() as url:
        report = await Run(Load(url=url, body=body(32 * 1024), seconds=SHORT, connections=2)).run()
    assert report.failed == 0
    assert report.requests >= 2
    assert 0 < report.first.p50 <= report.latency.p50


async def test_a_stream_is_over_with_its_last_chunk() -> None:
    """And its pieces have gaps between them."""
    async with backend() as url:
        load = Load(url=url, body=body(1024, "chunks=5,pause=0.001"), seconds=SHORT, connections=1)
        report = await Run(load).run()
    assert report.failed == 0
    assert report.requests >= 1
    assert report.gap.p50 > 0


async def test_a_rate_sends_as_many_requests_as_it_says() -> None:
    """Whatever they take; those that find no idle connection open one."""
    async with backend() as url:
        load = Load(url=url, body=body(99, "chunks=5,pause=0.01"), seconds=SHORT, connections=1, rate=500.0)
        report = await Run(load).run()
    assert report.requests == 10


async def test_what_breaks_off_or_is_refused_has_failed() -> None:
    """Nothing that failed is counted as an answer."""

    async def refuse(peer: Peer) -> None:
        await peer.request()
        await peer.answer(status=b"503 Busy")
        await peer.gone()

    async with ScriptedUpstream(refuse) as upstream:
        report = await Run(Load(url=f"{upstream.url}/v1", body="", seconds=0.0, connections=1)).run()
    assert report.requests == 0
    assert report.failed == 1


def test_answers_report_their_usage_as_backends_do() -> None:
    """The gate under test has something to count."""
    answer = msgspec.json.decode(plain(1024).partition(b"\r\n\r\n")[2])
    assert answer["usage"]["total_tokens"] == 300
    assert b'"usage":{"prompt_tokens":200' in event(7, 100)
    assert b'"choices":[]' in event(98, 100)
    assert b"[DONE]" in event(99, 100)


def test_a_spread_is_the_median_and_the_99th_percentile() -> None:
    """Of nothing it is zeros."""
    assert Spread.of([float(number) for number in range(100)]) == Spread(50.0, 99.0)
    assert Spread.of([]) == Spread()
