"""The one record of a request: who makes it, and what is in it at first."""

from playbook import Answers, play

from llmgate.errors import detail_shape
from llmgate.middleware import BeginExchange


async def test_a_request_enters_with_an_exchange_that_knows_its_route() -> None:
    app = Answers()
    layer = BeginExchange(
        app,
        route="accounts",
        surface="accounts",
        error_shape=detail_shape,
        timer=lambda: 5.0,
        new_id=lambda: "id-1",
    )
    await play(layer, path="/users/7")
    exchange = app.scopes[0]["llmgate"]
    assert (exchange.id, exchange.started, exchange.route, exchange.surface) == (
        "id-1",
        5.0,
        "accounts",
        "accounts",
    )
    assert exchange.error_shape is detail_shape


async def test_every_request_has_its_own() -> None:
    app = Answers()
    layer = BeginExchange(app)
    await play(layer)
    await play(layer)
    first, second = (scope["llmgate"] for scope in app.scopes)
    assert first.id != second.id
