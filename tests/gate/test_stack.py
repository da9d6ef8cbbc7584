"""Stacks are lists of Starlette's `Middleware`, from the outside in."""

import inspect

from playbook import Answers, play
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.gate.stack import Layer, wrap
from llmgate.middleware import Authentication, Errors, Metrics, RateLimit


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


def test_layers_that_plugins_and_users_serve_alone_are_asgi_apps_to_any_server() -> None:
    """Servers tell an app of ASGI 3 by its being a coroutine function."""
    for layer in (Authentication, RateLimit, Metrics, Errors):
        assert inspect.iscoroutinefunction(layer.__call__)
