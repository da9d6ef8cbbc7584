"""Which addresses the gate connects to at a stranger's word, however they are written."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Peer, ScriptedUpstream

from llmgate.proxy.address_guard import METADATA, AddressGuard
from llmgate.proxy.engines.base import ConnectFailed, Origin, Timeouts, UpstreamRequest
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine

GET = UpstreamRequest("GET", b"/", [])


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("::169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("0.0.0.0", "not the address"),  # noqa: S104
        ("::", "not the address"),
        ("224.0.0.1", "not the address"),
        ("ff02::1", "not the address"),
        ("255.255.255.255", "not the address"),
        ("240.0.0.1", "not the address"),
        *((str(network[0]), "metadata") for network in METADATA),
    ],
)
def test_what_no_stranger_may_have_asked_is_refused(address: str, why: str) -> None:
    """With the reason."""
    assert why in (AddressGuard().objection(address, 80) or "")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "8.8.8.8", "2001:4860:4860::8888"]
)
def test_other_addresses_may_be_asked(address: str) -> None:
    """Backends live in private networks and on the same machine."""
    assert AddressGuard(own_ports={8000}).objection(address, 11434) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::ffff:127.0.0.1"])
def test_the_gate_itself_is_refused(address: str) -> None:
    """An address of this machine with a port of the gate's; on another machine the port means nothing."""
    guard = AddressGuard(own_ports={8000})
    assert guard.objection(address, 8000) == "this gate itself"
    assert guard.objection("203.0.113.1", 8000) is None


def test_what_is_allowed_is_let_through_whatever_it_is() -> None:
    """And nothing beside it."""
    guard = AddressGuard(own_ports={8000}, allowed=[ipaddress.ip_network("169.254.169.0/24")])
    assert guard.objection("169.254.169.254", 80) is None
    assert guard.objection("::ffff:169.254.169.254", 80) is None
    assert guard.objection("169.254.170.1", 80) is not None
    assert guard.objection("127.0.0.1", 8000) is not None


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_an_ipv6_address_that_leads_to_an_ipv4_address_is_judged_as_that(ip: ipaddress.IPv4Address) -> None:
    """Mapped, translated (NAT64) and 6to4."""
    number = int(ip)
    for prefix in (0xFFFF << 32, 0x64FF9B << 96):
        assert AddressGuard().objection(str(ipaddress.IPv6Address(prefix + number)), 80) is not None
    assert (
        AddressGuard().objection(str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80))), 80) is not None
    )


def guarded(*answers: list[str] | OSError) -> HttptoolsEngine:
    """An engine whose names mean one thing after the other, the last for ever."""
    meanings = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        meaning = meanings.pop(0) if len(meanings) > 1 else meanings[0]
        if isinstance(meaning, OSError):
            raise meaning
        return meaning

    return HttptoolsEngine(guard=AddressGuard(resolve=resolve))


async def reply(peer: Peer) -> None:
    """Answers once and closes."""
    await peer.request()
    await peer.answer(b"ok", headers=b"connection: close\r\n")


async def test_the_address_that_was_judged_is_the_one_connected_to() -> None:
    """A name that means a good address now and a bad one later gets no second connection."""
    async with ScriptedUpstream(reply) as server:
        engine = guarded(["127.0.0.1"], ["169.254.169.254"])
        origin = Origin("http", "rebinding.example.com", server.port)
        answer = await engine.send(origin, GET, Timeouts())
        assert (answer.status, await answer.read()) == (200, b"ok")
        with pytest.raises(ConnectFailed, match="link-local"):
            await engine.send(origin, GET, Timeouts())
        await engine.aclose()


async def test_one_bad_address_spoils_the_name() -> None:
    """Nobody is asked, not even the good one."""
    async with ScriptedUpstream(reply) as server:
        engine = guarded(["127.0.0.1", "169.254.169.254"])
        with pytest.raises(ConnectFailed, match="link-local"):
            await engine.send(Origin("http", "two.example.com", server.port), GET, Timeouts())
        assert server.connections == 0
        await engine.aclose()


async def test_addresses_are_tried_one_after_the_other() -> None:
    """Until one answers."""
    async with ScriptedUpstream(reply) as server:
        engine = guarded(["127.0.0.2", "127.0.0.1"])
        answer = await engine.send(Origin("http", "two.example.com", server.port), GET, Timeouts())
        assert answer.status == 200
        answer.abort()
        await engine.aclose()


@pytest.mark.parametrize(
    "meaning", [[], socket.gaierror(socket.EAI_NONAME, "unknown")], ids=["none", "unknown"]
)
async def test_a_name_without_addresses_is_not_reached(meaning: list[str] | OSError) -> None:
    """Like a server that is away."""
    engine = guarded(meaning)
    with pytest.raises(ConnectFailed):
        await engine.send(Origin("http", "nowhere.example.com", 80), GET, Timeouts())


async def test_the_systems_names_are_judged_too() -> None:
    """`localhost` is this machine."""
    async with ScriptedUpstream(reply) as server:
        origin = Origin("http", "localhost", server.port)
        engine = HttptoolsEngine(guard=AddressGuard(own_ports={server.port}))
        with pytest.raises(ConnectFailed, match="this gate itself"):
            await engine.send(origin, GET, Timeouts())
        assert server.connections == 0
        await engine.aclose()
        engine = HttptoolsEngine(guard=AddressGuard())
        assert (await engine.send(origin, GET, Timeouts())).status == 200
        await engine.aclose()
