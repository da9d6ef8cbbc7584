"""What a head says of a body, and the body itself."""

import pytest
from starlette.types import Message

from llmgate.errors import BadRequest, ClientGone, PayloadTooLarge
from llmgate.exchange import read_body
from llmgate.exchange.body import about_body, name_of, replace_body_headers

LIMIT = 8


async def read(*messages: Message) -> bytes:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return await read_body(receive, LIMIT)


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_to_its_end() -> None:
    assert await read(piece(b"abcd", more=True), piece(b"efgh")) == b"abcdefgh"


async def test_one_too_large_or_cut_is_none() -> None:
    with pytest.raises(PayloadTooLarge):
        await read(piece(b"abcdefgh", more=True), piece(b"i"))
    with pytest.raises(ClientGone):
        await read(piece(b"abcd", more=True), {"type": "http.disconnect"})


def test_a_type_or_coding_that_is_given_twice_is_refused() -> None:
    assert about_body({"headers": [(b"content-encoding", b"gzip")]}) == (b"", b"gzip")
    with pytest.raises(BadRequest, match="Content-Type: given more than once"):
        about_body({"headers": [(b"content-type", b"a"), (b"content-type", b"b")]})


def test_a_body_written_anew_has_one_length_and_no_coding() -> None:
    headers = [(b"content-encoding", b"gzip"), (b"content-length", b"7"), (b"accept", b"*/*")]
    scope = {"headers": headers}
    replace_body_headers(scope, 12)
    assert scope["headers"] == [(b"accept", b"*/*"), (b"content-length", b"12")]


@pytest.mark.parametrize("name", ["a" * 257, "a\nb"])
def test_a_name_that_no_record_should_hold_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="at most 256 printable"):
        name_of(name)
    assert name_of("gpt-oss") == "gpt-oss"
