"""Where everything is let through, what nobody could count is not."""

import pytest
from playbook import Answers, play

from llmgate.middleware import MeteredOnly


async def asked(method: str, path: str, *named: str) -> int:
    return (await play(MeteredOnly(Answers(), named=named), method, path)).status


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions;x=1",
        "/v1/chat/completions/x",
        "/v1/chat/completions ",
        "/generate",
        "/inference/v1/generate",
        "/invocations",
        "/completion",
        "/infill",
        "/api/chat",
        "/api/generate",
        "/v1/images/generations",
        "/v1/messages/batches",
        "/tokenize/generate",
        "/",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "BREW"])
async def test_a_spelling_or_an_endpoint_that_is_not_known_does_not_pass(method: str, path: str) -> None:
    """Backends differ in which of them they serve."""
    assert await asked(method, path) == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/Chat//Completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/tokenize"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/models"),
        ("HEAD", "/generate"),
        ("DELETE", "/v1/files/1"),
    ],
)
async def test_what_is_counted_or_uses_nothing_passes(method: str, path: str) -> None:
    assert await asked(method, path) == 200


async def test_what_the_operator_has_named_passes() -> None:
    """Counted or not: `llmgate check` says so."""
    assert await asked("POST", "/v1/images/generations", "/v1/images/generations") == 200
    assert await asked("POST", "/v1/images/generations/x", "/v1/images/generations") == 404
    told = await play(MeteredOnly(Answers()), "POST", "/generate")
    assert "name it in `allow`" in told.error["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/chat/completions/c1/messages",
        "/v1/Conversations/conv_1/items",
        "/v1/threads/t",
    ],
)
async def test_what_others_have_stored_is_not_read(method: str, path: str) -> None:
    """The upstream has one account for all callers: `store` of a chat makes it everybody's."""
    assert await asked(method, path) == 404
    assert await asked(method, path, path) == 200
