"""What becomes of everything that can go wrong below."""

import asyncio
import logging

import pytest
from playbook import Told, play
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from llmgate.errors import AnswerCut, BadRequest, ClientGone, NotFound, StoreError, detail_shape
from llmgate.exchange import Exchange
from llmgate.middleware import Errors

START = {"type": "http.response.start", "status": 200, "headers": []}
HALF = {"type": "http.response.body", "body": b"half", "more_body": True}


def failing(error: Exception, *first: dict[str, object]) -> Errors:
    """An app that says `first` and then fails."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in first:
            await send(message)
        raise error

    return Errors(app)


async def test_a_refusal_is_answered() -> None:
    told = await play(failing(NotFound("No such thing.", param="thing")))
    assert told.status == 404
    assert told.error == {
        "message": "No such thing.",
        "type": "invalid_request_error",
        "param": "thing",
        "code": "not_found",
    }


async def test_a_refusal_is_answered_in_the_shape_of_its_route() -> None:
    exchange = Exchange("1", 0.0, error_shape=detail_shape)
    told = await play(failing(BadRequest("No.")), llmgate=exchange)
    assert (told.status, told.body) == (400, b'{"detail":"No."}')
    assert exchange.refused == "bad_request"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "bad_request"),
        (HTTPException(401, "Who?"), 401, "unauthenticated"),
        (HTTPException(418), 418, "bad_request"),
        (HTTPException(503), 503, "unavailable"),
        (HTTPException(500), 500, "internal"),
    ],
)
async def test_starlettes_errors_are_told_in_the_shape_of_the_route(
    error: HTTPException, status: int, reason: str
) -> None:
    """With their headers: an app of a plugin raises them as it does anywhere."""
    exchange = Exchange("1", 0.0, error_shape=detail_shape)
    told = await play(failing(error), llmgate=exchange)
    assert (told.status, told.body) == (status, b'{"detail":"%s"}' % error.detail.encode())
    assert told.header("allow") == (error.headers or {}).get("Allow")
    assert exchange.refused == reason


async def test_head_gets_no_body_but_its_length() -> None:
    whole = await play(failing(NotFound("No.")), "GET")
    told = await play(failing(NotFound("No.")), "HEAD")
    assert (told.body, told.header("content-length")) == (b"", str(len(whole.body)))


async def test_what_nobody_foresaw_is_a_500_that_tells_only_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = await play(failing(RuntimeError("the password is geheim")), llmgate=Exchange("id-1", 0.0))
    assert told.status == 500
    assert "geheim" not in told.body.decode()
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "request id-1 failed")
    assert record.exc_info


async def test_a_store_that_is_away_is_503(caplog: pytest.LogCaptureFixture) -> None:
    told = await play(failing(StoreError("disk full")))
    assert (told.status, told.error["code"]) == (503, "unavailable")
    assert "disk full" not in told.body.decode()
    assert "disk full" in caplog.text


@pytest.mark.parametrize(
    "error", [BadRequest("No."), AnswerCut("cut"), StoreError("away"), RuntimeError("bug"), ClientGone()]
)
async def test_nothing_is_appended_to_an_answer_that_has_begun(error: Exception) -> None:
    """The server sees the app return early and closes the connection."""
    told = await play(failing(error, START, HALF))
    assert told.messages == [START, HALF]
    assert not told.finished


async def test_an_answer_that_was_cut_before_any_of_it_went_out_is_502() -> None:
    """Accounting holds back a plain answer's beginning; left to the server, it would be a bare 500."""
    told = await play(failing(AnswerCut("http://10.1.0.1:8001: end of stream")))
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    assert "10.1.0.1" not in told.body.decode()


async def test_a_client_that_left_is_told_nothing() -> None:
    told = await play(failing(ClientGone()))
    assert told.messages == []


async def test_cancellation_passes() -> None:
    told = Told()
    with pytest.raises(asyncio.CancelledError):
        await play(failing(asyncio.CancelledError()), told=told)
    assert told.messages == []
