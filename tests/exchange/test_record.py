"""The record of a request: its body is read once, may be changed, and goes once it was handed on."""

import msgspec
from playbook import scope_of
from starlette.types import Message

from llmgate.exchange import Exchange

BODY = b'{"model":"small","messages":[],"max_tokens":9}'
LIMIT = 1024


async def foreign_app(*_: object) -> None:
    """One that reads the body itself, as any ASGI app may."""


async def receive() -> Message:
    return {"type": "http.request", "body": BODY, "more_body": False}


async def test_several_layers_read_one_body_and_see_what_each_has_changed() -> None:
    exchange, scope = Exchange("1", 0.0), scope_of("POST", "/v1/chat/completions")
    model_request = await exchange.read(scope, receive, LIMIT)
    exchange.edit({"max_tokens": 5})
    exchange.hand_on(scope, foreign_app)
    again = await exchange.read(scope, exchange.receive, LIMIT)
    assert (model_request.max_output, again.fields["max_tokens"]) == (5, msgspec.Raw(b"5"))
    assert (await exchange.receive())["body"] == BODY.replace(b"9", b"5")


async def test_the_length_that_is_announced_is_that_of_the_changed_body() -> None:
    exchange, scope = Exchange("1", 0.0), scope_of("POST", "/v1/chat/completions")
    await exchange.read({**scope, "headers": [(b"content-length", b"46")]}, receive, LIMIT)
    exchange.edit({"max_tokens": 10})
    changed = exchange.hand_on({**scope, "headers": [(b"content-length", b"46")]}, foreign_app)
    assert changed["headers"] == [(b"content-length", b"47")]


async def test_nothing_keeps_a_body_that_was_handed_on() -> None:
    """Its answer may stream for an hour, next to a thousand others."""
    exchange, scope = Exchange("1", 0.0), scope_of("POST", "/v1/chat/completions")
    model_request = await exchange.read(scope, receive, LIMIT)
    await exchange.receive()
    assert (exchange._body, model_request.fields, model_request.model) == (b"", {}, "small")
