"""Answers as they are read, byte for byte, whatever way they come in."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.proxy.engines.response import Response
from llmgate.proxy.engines.response_parser import MAX_HEAD_BYTES, MalformedResponse, ResponseParser

STREAM = (
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nkeep-alive: timeout=7\r\ntransfer-encoding: chunked\r\n"
    b"\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: x\r\n\r\n"
)


class Nowhere:
    """A source that is never asked for anything."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.close()

    def resume_reading(self) -> None: ...

    def fail(self, error: Exception) -> None: ...


def awaited(*, bodyless: bool = False) -> tuple[ResponseParser, Response]:
    parser, response = ResponseParser(), Response(Nowhere())
    parser.expect(response, bodyless=bodyless)
    return parser, response


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_an_answer_may_be_cut_anywhere(cuts: list[int]) -> None:
    parser, response = awaited()
    ends = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(ends):
        parser.feed(STREAM[start:end])
    assert (response.status, b"".join(response.pieces), response.complete) == (200, b"abcde", True)
    assert (parser.begun, parser.body_begun, parser.event_stream, parser.keep_alive) == (
        True,
        True,
        True,
        True,
    )
    assert (parser.keep_alive_hint, parser.surplus) == (7, False)


def test_a_head_is_not_yet_a_body() -> None:
    parser, response = awaited()
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    assert (response.status, parser.body_begun) == (200, False)
    parser.feed(b"h")
    assert parser.body_begun


def test_the_next_answer_begins_anew_even_after_one_without_its_body() -> None:
    parser, head = awaited(bodyless=True)
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    assert head.complete
    parser.forget()
    following = Response(Nowhere())
    parser.expect(following, bodyless=False)
    parser.feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (following.status, following.complete, parser.surplus) == (204, True, False)


def test_what_comes_behind_an_answer_is_surplus_and_changes_nothing() -> None:
    parser, response = awaited()
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\nx")
    assert (response.status, response.pieces, parser.surplus) == (200, [], True)


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-x\r\n", b"HTTP/1.1 700 Odd\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1)],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    parser, _ = awaited()
    with pytest.raises(MalformedResponse):
        parser.feed(data)
