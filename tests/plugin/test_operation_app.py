"""Operations: what of a request is read for the handler, and what is refused before it."""

from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from llmgate.errors import Forbidden, detail_shape
from llmgate.exchange import Exchange
from llmgate.plugin.call import ANY, FORM, JSON, AnyCall, Call, Reply
from llmgate.plugin.cookies import Cookie
from llmgate.plugin.operation import Operation
from llmgate.plugin.operation_app import OperationApp


class Thing(msgspec.Struct):
    name: str
    count: int = 0


async def echo(call: AnyCall) -> Any:
    return call.body if call.body is not None else call.query


async def model_request(
    operation: Operation, body: bytes = b"", query: bytes = b"", **settings: int
) -> tuple[int, Any]:
    """The status and the decoded body of an operation's answer."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    exchange = Exchange("1", 0.0, error_shape=detail_shape)
    scope = {
        "type": "http",
        "method": operation.method,
        "path": operation.path,
        "query_string": query,
        "headers": [],
        "llmgate": exchange,
    }
    await OperationApp(operation, **settings)(scope, receive, send)
    start, end = sent
    lengths = [value for name, value in start["headers"] if name == b"content-length"]
    assert lengths in ([], [b"%d" % len(end["body"])])
    return start["status"], msgspec.json.decode(end["body"]) if end["body"] else None


def posting(**settings: Any) -> Operation:
    return Operation(method="POST", path="/things", handler=echo, **{"body": Thing, **settings})


async def test_a_body_comes_as_its_type() -> None:
    """And goes out with the first status of `answers`."""
    operation = posting(answers={201: Thing, 400: None})
    assert await model_request(operation, b'{"name": "a", "count": 2}') == (201, {"name": "a", "count": 2})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{}", "body: Object missing required field `name`"),
        (b'{"name": 1}', "body: Expected `str`, got `int` - at `$.name`"),
        (b'{"name": "a", "count": true}', "body: Expected `int`, got `bool` - at `$.count`"),
        (b'{"name": "a", "name": "b"}', "body.name: given more than once"),
        (b'{"x": 1, "x": 2, "name": "a"}', "body.x: given more than once"),
        (b'["a"]', "body: expected a JSON object"),
        (b'{"name": "\xff"}', "body: not UTF-8"),
        (b'{"name": "a"', "body: not JSON"),
        (b'{"name": ' + b"[" * 100_000, "body: "),
        (b"", "body: not JSON"),
    ],
)
async def test_json_that_does_not_fit_is_400(body: bytes, detail: str) -> None:
    """With the place; also where a member stands twice, as nobody knows which was meant."""
    status, said = await model_request(posting(), body)
    assert status == 400
    assert said["detail"].startswith(detail)


async def test_a_form_comes_as_its_type() -> None:
    """Numbers are read from its text."""
    status, said = await model_request(posting(media_types=(FORM,)), b"name=a+b%26c&count=2")
    assert (status, said) == (200, {"name": "a b&c", "count": 2})


@pytest.mark.parametrize(
    "body",
    [
        b"name=a&name=b",
        b"name",
        b"count=1",
        b"name=a&count=x",
        b"name=%ff",
        b"\xff=a",
        b'{"name": "a"}',
        b"&" * 500,
    ],
)
async def test_a_form_that_does_not_fit_is_400(body: bytes) -> None:
    """Also one with a field twice (RFC 6749, 3.2)."""
    status, said = await model_request(posting(media_types=(FORM,)), body)
    assert status == 400
    assert said["detail"].startswith("body: ")


async def test_a_query_is_read_like_a_form() -> None:
    """The same rules hold."""
    operation = Operation(method="GET", path="/things", handler=echo, query=Thing)
    assert await model_request(operation, query=b"name=a&count=3") == (200, {"name": "a", "count": 3})
    for query in (b"", b"name=a&name=b", b"name=%ff", b"name=a&count=-"):
        status, said = await model_request(operation, query=query)
        assert status == 400
        assert said["detail"].startswith("query: ")


async def test_more_bytes_than_allowed_are_413() -> None:
    """Counted while they come."""
    status, _ = await model_request(posting(), b'{"name": "aaaaaaaaaaaa"}', max_body=10)
    assert status == 413


async def test_a_reply_has_a_status_and_headers_of_its_own() -> None:
    """Without a value it has no body."""

    async def gone(call: Call) -> Reply:
        return Reply(None, 204)

    assert await model_request(Operation(method="DELETE", path="/things", handler=gone)) == (204, None)


async def test_a_refusal_is_put_into_the_surfaces_shape() -> None:
    """The exchange says which."""

    async def refuse(call: Call) -> None:
        raise Forbidden("Not you.")

    assert await model_request(Operation(method="GET", path="/things", handler=refuse)) == (
        403,
        {"detail": "Not you."},
    )


async def through(app: ASGIApp, method: str, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate.test") as http:
        return await http.request(method, path, **options)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_a_body_of_another_media_type_is_415(media_type: str) -> None:
    """Those that a page of any origin may send without asking, above all."""
    answer = await through(
        OperationApp(posting()),
        "POST",
        "/things",
        content=b'{"name": "a"}',
        headers={"content-type": media_type},
    )
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]


async def test_a_form_and_json_on_one_path() -> None:
    """Each is read as what it says it is; nothing said means the first."""
    app = OperationApp(posting(media_types=(FORM, JSON)))
    for options in ({"data": {"name": "a", "count": "2"}}, {"json": {"name": "a", "count": 2}}):
        assert (await through(app, "POST", "/things", **options)).json() == {"name": "a", "count": 2}
    assert (await through(app, "POST", "/things", content=b"name=a")).json() == {"name": "a", "count": 0}


async def test_any_media_type_is_read_as_the_first() -> None:
    """Where a guide's server never looked."""
    app = OperationApp(posting(media_types=(JSON, ANY)))
    answer = await through(app, "POST", "/things", content=b'{"name": "a"}', headers={"content-type": "x/y"})
    assert answer.json() == {"name": "a", "count": 0}


async def test_access_is_decided_before_the_body_is_read() -> None:
    """A stranger is told that, not what is wrong with the body."""

    async def members(call: Call) -> str:
        """Members of the team alone."""
        if call.path["team"] != "1":
            raise Forbidden("Not your team.")
        return "admin"

    async def rename(call: Call[Thing, None, str]) -> list[str]:
        return [call.access, call.body.name]

    operation = Operation(method="PUT", path="/teams/{team}", handler=rename, body=Thing, access=members)
    app = Starlette(routes=[Route(operation.path, OperationApp(operation))])
    assert (await through(app, "PUT", "/teams/1", json={"name": "a"})).json() == ["admin", "a"]
    assert (await through(app, "PUT", "/teams/2", content=b"[")).status_code == 403


async def test_a_reply_sets_and_clears_cookies() -> None:
    """Each in a header of its own (RFC 6265, 3)."""
    cookie = Cookie("access_token", "abc")

    async def log_in(call: Call) -> Reply:
        return Reply({"ok": True}, 200, cookies=[cookie, Cookie("other", "x").cleared])

    app = OperationApp(Operation(method="POST", path="/login", handler=log_in))
    answer = await through(app, "POST", "/login")
    assert [value.partition("=")[0] for value in answer.headers.get_list("set-cookie")] == [
        "access_token",
        "other",
    ]
