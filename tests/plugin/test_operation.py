"""Operations are routes of Starlette's, with what the gate needs to know of them."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from llmgate.plugin.call import AnyCall, Reply
from llmgate.plugin.operation import Operation
from llmgate.plugin.operation_app import send_reply

from .test_operation_app import through


async def show(call: AnyCall) -> Any:
    return dict(call.path)


async def answered(scope: Scope, receive: Receive, send: Send) -> None:
    await send_reply(scope, send, Reply("app", 200))


async def test_an_operation_stands_in_any_starlette_application() -> None:
    """It is a `Route`: who knows Starlette's has understood it."""
    routes = [
        Operation(method="GET", path="/things/{id}", handler=show),
        Operation(method="PUT", path="/files/{name:path}", app=answered),
    ]
    app = Starlette(routes=routes)
    assert (await through(app, "GET", "/things/7")).json() == {"id": "7"}
    assert (await through(app, "PUT", "/files/a/b")).json() == "app"
    assert (await through(app, "POST", "/things/7")).status_code == 405


def test_an_operation_has_a_handler_or_an_app() -> None:
    with pytest.raises(AssertionError, match="a handler or an app"):
        Operation(method="GET", path="/", handler=show, app=answered)


async def test_an_operation_stands_at_another_path_as_well() -> None:
    """With all that is said of it."""
    for operation in (
        Operation(method="GET", path="/a", handler=show, roles=("admin",)),
        Operation(method="GET", path="/a", app=answered, roles=("admin",)),
    ):
        other = operation.at("/a/")
        assert (other.path, other.roles, other.handler) == ("/a/", ("admin",), operation.handler)
        assert (await through(Starlette(routes=[other]), "GET", "/a/")).status_code == 200
