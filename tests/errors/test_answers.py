"""What the gate answers itself, as messages of ASGI."""

from playbook import Told, play
from starlette.types import Message, Receive, Scope, Send

from llmgate.errors import BadRequest, answer, detail_shape, send_json, send_whole
from llmgate.exchange import Exchange


async def refused(method: str = "GET", path: str = "/", **more: object) -> Told:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, send, BadRequest("No."))

    return await play(app, method, path, **more)


async def test_a_refusal_has_the_routes_shape_and_is_noted_for_the_metrics() -> None:
    exchange = Exchange("1", 0.0, error_shape=detail_shape)
    told = await refused(llmgate=exchange)
    assert (told.status, told.body, told.finished) == (400, b'{"detail":"No."}', True)
    assert told.header("content-length") == str(len(told.body))
    assert exchange.refused == "bad_request"


async def test_without_an_exchange_it_is_openais_and_at_anthropics_paths_anthropics() -> None:
    assert (await refused()).error["message"] == "No."
    assert b'"type":"error"' in (await refused("POST", "/v1/messages")).body


async def test_a_head_is_told_the_length_alone() -> None:
    told = await refused("HEAD")
    assert told.body == b""
    assert int(told.header("content-length") or 0) > 0


async def test_a_websocket_is_closed_before_it_opens() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await answer({"type": "websocket", "path": "/"}, send, BadRequest("No."))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "bad_request"}]


async def test_json_goes_out_with_its_type_and_length() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(scope, send, {"a": [1]}, status=201, headers=[(b"x-own", b"1")])

    told = await play(app)
    assert (told.status, told.body, told.header("content-type")) == (201, b'{"a":[1]}', "application/json")
    assert (told.header("content-length"), told.header("x-own")) == ("9", "1")


async def test_what_has_no_body_has_no_length() -> None:
    """RFC 9110, 8.6: of a 204 and a 304."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(scope, send, 204, [], b"")

    told = await play(app)
    assert (told.status, told.header("content-length")) == (204, None)
