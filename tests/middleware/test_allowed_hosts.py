"""By which names a gate is asked: a web page of others must not be able to talk to it."""

import asyncio

import pytest
from playbook import Told, scope_of
from starlette.types import Message, Receive, Scope, Send

from llmgate.middleware import AllowedHosts
from llmgate.middleware.allowed_hosts import LOCAL_NAMES, REMEMBERED, name_of


async def says(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def status_for(layer: AllowedHosts, host: str | None) -> int:
    scope = scope_of()
    scope["headers"] = [] if host is None else [(b"host", host.encode())]
    told = Told()

    async def send(message: Message) -> None:
        told.messages.append(message)

    await layer(scope, asyncio.Event().wait, send)  # type: ignore[arg-type] - nobody receives
    return told.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("gate.example", 200),
        ("GATE.example:8443", 200),
        ("gate.example.", 200),
        ("a.b.api.example", 200),
        ("api.example", 421),
        ("evilgate.example", 421),
        ("gate.example.evil.example", 421),
        ("localhost", 421),
        ("127.0.0.1:8000", 200),
        ("[2001:db8::1]", 200),
        ("127.0.0.1.evil.example", 421),
        ("[::1].evil.example", 421),
        ("[::1", 421),
        ("", 421),
        (None, 200),  # HTTP/1.0: whoever says nothing is no browser
    ],
)
async def test_named_hosts_and_addresses_are_served_and_others_are_421(host: str | None, status: int) -> None:
    layer = AllowedHosts(says, hosts=["gate.example", "*.api.example"])
    for _ in range(2):  # the second time from memory
        assert await status_for(layer, host) == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("app.localhost", 200),
        ("gate", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.nip.io:8000", 421),
    ],
)
async def test_at_a_loopback_address_no_name_of_the_internet_is_served(host: str, status: int) -> None:
    """DNS rebinding: the page's own name turns into 127.0.0.1, and stays in Host."""
    assert await status_for(AllowedHosts(says, hosts=LOCAL_NAMES, bare=True), host) == status


async def test_what_is_remembered_is_bounded() -> None:
    layer = AllowedHosts(says, hosts=["gate.example"])
    for number in range(2 * REMEMBERED):
        await status_for(layer, f"{number}.example")
    assert len(layer._known) == REMEMBERED
    assert await status_for(layer, "gate.example") == 200


async def test_a_websocket_is_refused_too_and_lifespan_is_not() -> None:
    layer = AllowedHosts(says, hosts=["gate.example"])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    await layer({"type": "websocket", "headers": [(b"host", b"evil.example")]}, receive, send)  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


def test_a_name_is_read_without_what_stands_around_it() -> None:
    assert [name_of(host) for host in (b"A.b:1", b"[::1]:2", b" x. ", b"")] == ["a.b", "::1", "x", ""]
