"""The record of a request: its body is read once, may be changed, and goes once it was handed on."""

import uuid
from itertools import islice

import msgspec
from playbook import scope_of
from starlette.types import Message
from stores import Clock

from llmgate.exchange import Exchange, request_ids
from llmgate.exchange.record import RENEWAL_INTERVAL_S

BODY = b'{"model":"small","messages":[],"max_tokens":9}'
LIMIT = 1024


async def foreign_app(*_: object) -> None:
    """One that reads the body itself, as any ASGI app may."""


async def receive() -> Message:
    return {"type": "http.request", "body": BODY, "more_body": False}


def test_ids_are_uuids_of_version_7_that_rise_and_never_come_twice() -> None:
    clock = Clock(0.0)
    ids: list[str] = []
    for several in (request_ids(clock), request_ids(clock)):
        for _ in range(3):
            ids += islice(several, 100)
            clock.pass_by(RENEWAL_INTERVAL_S)
    assert len(set(ids)) == 600
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert all(str(uuid.UUID(each)) == each for each in ids)
    assert [each[:13] for each in ids] == sorted(each[:13] for each in ids)
    assert len({each[:24] for each in ids}) == 6  # begun anew each time


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
