"""Stacks are lists of Starlette's `Middleware`, from the outside in."""

import inspect

import pytest
from playbook import Answers, play
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate import middleware
from llmgate.gate.stack import Layer, wrap


class Marks:
    """A layer that leaves a mark on its way down."""

    def __init__(self, app: ASGIApp, *, mark: str) -> None:
        self.app = app
        self.mark = mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "marks": [*scope.get("marks", ()), self.mark]}, receive, send)


async def test_the_first_of_a_list_is_the_outermost_as_starlette_has_it() -> None:
    app = Answers()
    await play(wrap(app, [Layer("a", Marks, mark="a"), Middleware(Marks, mark="b")]))
    assert app.scopes[0]["marks"] == ["a", "b"]


def test_a_layer_is_one_of_starlettes_that_gate_toml_has_a_name_for() -> None:
    layer = Layer("ratelimit", Marks, mark="x")
    assert isinstance(layer, Middleware)
    assert (layer.name, layer.cls, layer.kwargs) == ("ratelimit", Marks, {"mark": "x"})


@pytest.mark.parametrize("layer", [getattr(middleware, name) for name in middleware.__all__])
def test_a_layer_that_users_serve_alone_is_an_app_to_any_server(layer: type) -> None:
    """Servers tell an app of ASGI 3 by its being a coroutine function."""
    assert inspect.iscoroutinefunction(layer.__call__)


async def test_a_subclass_of_a_layer_keeps_its_own_call() -> None:
    class Marked(middleware.RequestId):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await super().__call__({**scope, "mark": "own"}, receive, send)

    app = Answers()
    await play(wrap(app, [Middleware(Marked)]))
    assert app.scopes[0]["mark"] == "own"
