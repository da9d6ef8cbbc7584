"""The outermost app: where a request goes, whom it is from, and when all have left."""

import asyncio
import ipaddress

import pytest
from playbook import Answers, play
from starlette.types import Message

from llmgate.errors import detail_shape
from llmgate.gate.dispatcher import Dispatcher, not_found
from llmgate.gate.router import Entry, Table
from llmgate.middleware import Errors

NETWORKS = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


def entrance(app: Answers, *, trusted: list[object] = NETWORKS) -> Dispatcher:
    entry = Entry("GET", "/users/{id}", app, "accounts", "plugins.accounts", "accounts", detail_shape)
    return Dispatcher(
        Table([entry]),
        not_found=Errors(not_found),
        trusted_proxies=trusted,
        timer=lambda: 5.0,
        new_id=lambda: "id-1",
    )


async def test_a_request_enters_with_an_exchange_that_knows_its_route() -> None:
    app = Answers()
    await play(entrance(app), path="/users/7")
    exchange = app.scopes[0]["llmgate"]
    assert (exchange.id, exchange.started, exchange.route, exchange.surface) == (
        "id-1",
        5.0,
        "accounts",
        "accounts",
    )
    assert exchange.error_shape is detail_shape
    assert app.scopes[0]["path_params"] == {"id": "7"}


async def test_what_no_route_takes_is_404_and_another_method_405() -> None:
    gate = entrance(Answers())
    told = await play(gate, path="/nothing")
    assert (told.status, told.error["code"]) == (404, "not_found")
    told = await play(gate, "DELETE", "/users/7")
    assert (told.status, told.header("allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("client", "hops", "believed"),
    [
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["203.0.113.9, 192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
    ],
)
async def test_a_client_is_who_the_last_trusted_proxy_says(
    client: str, hops: list[str], believed: str
) -> None:
    """What stands further left was written by somebody we do not trust."""
    app = Answers()
    headers = [(b"x-forwarded-for", hop.encode()) for hop in hops]
    await play(entrance(app), path="/users/7", headers=headers, client=(client, 1))
    assert app.scopes[0]["client"][0] == believed


async def test_without_trusted_proxies_nobody_is_believed() -> None:
    app = Answers()
    gate = entrance(app, trusted=[])
    await play(gate, path="/users/7", headers={"x-forwarded-for": "10.0.0.9"}, client=("10.0.0.1", 1))
    assert app.scopes[0]["client"] == ("10.0.0.1", 1)


async def test_it_is_drained_when_the_last_one_has_left() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Waits(Answers):
        async def __call__(self, scope: object, receive: object, send: object) -> None:
            entered.set()
            await go_on.wait()

    gate = entrance(Waits())
    await gate.drained()
    inside = asyncio.create_task(play(gate, path="/users/7"))
    await entered.wait()
    drained = asyncio.create_task(gate.drained())
    assert gate.in_flight == 1
    go_on.set()
    await asyncio.gather(inside, drained)
    assert gate.in_flight == 0


async def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await entrance(Answers())({"type": "websocket", "path": "/users/7", "headers": []}, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
