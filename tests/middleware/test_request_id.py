"""Which id a request has, on both sides."""

import uuid

import pytest
from playbook import Answers, play

from llmgate.middleware import RequestId


def ids(headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    return [value for name, value in headers if name == b"x-request-id"]


async def test_a_request_without_an_id_gets_a_uuid_that_both_sides_see() -> None:
    app = Answers()
    told = await play(RequestId(app))
    own = told.header("x-gate-request-id")
    assert str(uuid.UUID(own)) == own
    assert told.header("x-request-id") == own
    assert ids(app.scopes[0]["headers"]) == [own.encode()]


async def test_a_clients_id_goes_both_ways_beside_the_gates_own() -> None:
    app = Answers()
    told = await play(RequestId(app), headers={"x-request-id": "order-66"})
    assert ids(app.scopes[0]["headers"]) == [b"order-66"]
    assert told.header("x-request-id") == "order-66"
    assert told.header("x-gate-request-id") == told.scope["llmgate"].id != "order-66"


@pytest.mark.parametrize("value", [b"", b"a b", b"a" * 129, b"caf\xe9", b"a\tb", b"\x1b[2J"])
async def test_an_id_that_logs_would_have_to_escape_or_cut_is_replaced(value: bytes) -> None:
    app = Answers()
    told = await play(RequestId(app), headers=[(b"x-request-id", value)])
    own = told.header("x-gate-request-id")
    assert ids(app.scopes[0]["headers"]) == [own.encode()]
    assert told.header("x-request-id") == own


async def test_of_two_ids_none_counts() -> None:
    app = Answers()
    told = await play(RequestId(app), headers=[(b"x-request-id", b"a"), (b"x-request-id", b"b")])
    assert ids(app.scopes[0]["headers"]) == [told.header("x-gate-request-id").encode()]


async def test_an_id_that_the_app_answers_with_stays() -> None:
    told = await play(
        RequestId(Answers(headers=[(b"X-Request-Id", b"cmpl-1")])), headers={"x-request-id": "mine"}
    )
    assert told.header("x-request-id") == "cmpl-1"
