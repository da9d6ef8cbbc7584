"""Connecting to a name: a dead address keeps the others waiting for a moment only."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from servers import PATIENCE, Peer, ScriptedUpstream

from llmgate.proxy.engines.base import ConnectFailed, Origin, Timeouts, UpstreamRequest
from llmgate.proxy.engines.dialer import addresses_of, alternating, first_to_succeed
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine

NAMES = ["a", "b", "c"]


class Attempts:
    """Addresses that answer, fail or hang as `ends` says; remembers what was begun and what was thrown away."""

    def __init__(self, **ends: str) -> None:
        self.ends = ends
        self.begun: list[str] = []
        self.discarded: list[str] = []

    async def __call__(self, address: str) -> str:
        self.begun.append(address)
        match self.ends[address]:
            case "hangs":
                await asyncio.Event().wait()
            case "fails":
                raise OSError(f"{address} refuses")
            case "late":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return address  # it was made just when it was to be given up
        return address

    async def race(self, addresses: list[str] = NAMES) -> str:
        async with asyncio.timeout(PATIENCE):
            return await first_to_succeed(self, addresses, discard=self.discarded.append, delay=0.01)


@pytest.mark.parametrize(
    ("ends", "winner", "begun"),
    [
        ({"a": "", "b": "", "c": ""}, "a", ["a"]),
        ({"a": "fails", "b": "", "c": ""}, "b", ["a", "b"]),
        ({"a": "hangs", "b": "hangs", "c": ""}, "c", ["a", "b", "c"]),
        ({"a": "hangs", "b": "fails", "c": ""}, "c", ["a", "b", "c"]),
    ],
)
async def test_the_first_address_that_answers_is_taken(
    ends: dict[str, str], winner: str, begun: list[str]
) -> None:
    attempts = Attempts(**ends)
    assert (await attempts.race(), attempts.begun, attempts.discarded) == (winner, begun, [])


async def test_what_a_later_one_has_made_is_thrown_away() -> None:
    attempts = Attempts(a="late", b="")
    assert await attempts.race(["a", "b"]) == "b"
    assert attempts.discarded == ["a"]


@pytest.mark.parametrize("addresses", [["a"], ["a", "b"]])
async def test_if_all_fail_the_last_failure_is_told(addresses: list[str]) -> None:
    with pytest.raises(OSError, match=f"{addresses[-1]} refuses"):
        await Attempts(a="fails", b="fails").race(addresses)
    with pytest.raises(OSError, match="no address"):
        await Attempts().race([])


async def test_who_does_not_wait_any_more_leaves_nothing_running() -> None:
    attempts = Attempts(a="late", b="hangs")
    racing = asyncio.ensure_future(attempts.race(["a", "b"]))
    await asyncio.sleep(0.05)
    racing.cancel()
    await asyncio.gather(racing, return_exceptions=True)
    assert attempts.discarded == ["a"]


def test_families_take_turns() -> None:
    assert alternating(["::1", "::2", "1.1.1.1", "::3"]) == ["::1", "1.1.1.1", "::2", "::3"]
    assert alternating(["1.1.1.1", "::1"]) == ["1.1.1.1", "::1"]
    assert alternating([]) == []


async def test_an_address_is_not_looked_up() -> None:
    assert await addresses_of("fe80::1%lo", 1) == ["fe80::1%lo"]
    with pytest.raises(OSError):
        await addresses_of("nobody.invalid", 1)


Resolved = Callable[[str, int], Awaitable[list[str]]]


def resolving(*addresses: str) -> Resolved:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


async def test_a_dead_first_address_of_a_name_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one takes no connection: its queue is full, as a host that is gone answers nothing."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"ok")

    async with ScriptedUpstream(script) as upstream:
        with socket.socket() as dead:
            dead.bind(("127.0.0.2", upstream.port))
            dead.listen(0)
            full = [socket.socket() for _ in range(3)]
            for each in full:
                each.setblocking(False)
                each.connect_ex(("127.0.0.2", upstream.port))
            monkeypatch.setattr(
                "llmgate.proxy.engines.httptools_engine.addresses_of", resolving("127.0.0.2", "127.0.0.1")
            )
            engine = HttptoolsEngine()
            origin = Origin.parse(f"http://vllm.example:{upstream.port}")
            response = await engine.send(origin, UpstreamRequest("GET", b"/", []), Timeouts(PATIENCE))
            assert await response.read() == b"ok"
            await engine.aclose()
            for each in full:
                each.close()


async def test_a_name_that_nobody_knows_is_a_failed_connection() -> None:
    engine = HttptoolsEngine()
    with pytest.raises(ConnectFailed, match=r"nobody\.invalid"):
        await engine.send(Origin.parse("http://nobody.invalid"), UpstreamRequest("GET", b"/", []), Timeouts())
    await engine.aclose()
