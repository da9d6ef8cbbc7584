"""A refusal in the words of the API that was asked."""

from typing import Any

import msgspec
import pytest

from llmgate.errors import (
    Answer,
    BadRequest,
    Refusal,
    Unavailable,
    anthropic_shape,
    detail_shape,
    json_answer,
    openai_shape,
    shape_for,
)

WRONG = BadRequest("No.", param="model", code="unknown_model", headers=[(b"x-extra", b"1")])


def body_of(told: Answer) -> Any:
    return msgspec.json.decode(told[2])


def test_openais() -> None:
    status, headers, _ = told = openai_shape(WRONG)
    assert (status, headers) == (400, [(b"content-type", b"application/json"), (b"x-extra", b"1")])
    error = {"message": "No.", "type": "invalid_request_error", "param": "model", "code": "unknown_model"}
    assert body_of(told) == {"error": error}


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(WRONG, "invalid_request_error"), (Unavailable(""), "overloaded_error"), (Refusal(""), "api_error")],
)
def test_anthropics(refusal: Refusal, kind: str) -> None:
    told = body_of(anthropic_shape(refusal))
    assert told == {"type": "error", "error": {"type": kind, "message": refusal.message}}


def test_fastapis() -> None:
    assert body_of(detail_shape(WRONG)) == {"detail": "No."}


@pytest.mark.parametrize(
    ("path", "anthropic"),
    [
        ("/v1/messages", True),
        ("/v1/messages/", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/batches/b1/results", True),
        ("/v1/chat/completions", False),
        ("/v1/threads/t1/messages", False),
        ("/v1/old_messages", False),
        ("/v1" + "/messages/batches/" * 3000 + "\n\n", True),
        ("/v1" + "/messages/count_tokens" * 3000 + "!", False),
    ],
)
def test_a_path_of_anthropics_has_its_shape_unless_a_surface_has_one(path: str, anthropic: bool) -> None:
    assert (shape_for(openai_shape, path) is anthropic_shape) == anthropic
    assert shape_for(detail_shape, path) is detail_shape


def test_a_shape_of_ones_own_keeps_the_refusals_headers() -> None:
    status, headers, body = json_answer(WRONG, {"oops": 1}, status=418)
    assert (status, (b"x-extra", b"1") in headers, body) == (418, True, b'{"oops":1}')
