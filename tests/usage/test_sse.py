"""Events are cut where the standard says, from any pieces, and no byte is lost or changed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.usage.sse import EventSplitter, data_of

BOM = b"\xef\xbb\xbf"
LINES = st.sampled_from([b"data: {}", b"data:x", b"data", b": comment", b"event: a", b"id: 1", b"x", b""])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.builds(
    lambda mark, lines: mark + b"".join(line + end for line, end in lines),
    st.sampled_from([b"", BOM]),
    st.lists(st.tuples(LINES, ENDS), max_size=12),
)


def split(stream: bytes, cuts: list[int] | None = None) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events: list[bytes] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts or []), len(stream)]
    for start, end in pairwise(edges):
        events += splitter.feed(stream[start:end])
    return events, splitter.rest


@given(STREAMS, st.lists(st.integers(0, 1000), max_size=6))
def test_no_byte_is_lost_whatever_the_pieces(stream: bytes, cuts: list[int]) -> None:
    """Events and rest together are the stream, and the cuts between pieces change neither."""
    events, rest = split(stream, cuts)
    assert b"".join(events) + rest == stream
    assert (events, rest) == split(stream)
    assert (events, rest) == split(stream, list(range(len(stream))))


@given(STREAMS)
def test_data_is_what_a_line_by_line_reader_of_the_standard_finds(stream: bytes) -> None:
    """Compared with the algorithm of the standard, run over decoded lines one by one."""
    events, _ = split(stream + b"\n\nx")
    found = [data for event in events if (data := data_of(event)) is not None]
    assert found == standard_reader(stream + b"\n\n")


def standard_reader(stream: bytes) -> list[bytes]:
    found: list[bytes] = []
    data: list[bytes] = []
    for line in stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line == b"" and data:
            found.append(b"\n".join(data))
            data = []
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return found


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_events(end: bytes) -> None:
    """Line feed, carriage return with line feed, carriage return."""
    one, two = b"event: a" + end + b"data: 1" + end + end, b"data: 2" + end + end
    events, rest = split(one + two + b"data: 3")
    assert (events, rest) == ([one, two], b"data: 3")
    assert [data_of(event) for event in events] == [b"1", b"2"]


def test_one_event_comes_back_as_the_object_it_is() -> None:
    """The usual case costs no copy."""
    event = b'data: {"a":1}\n\n'
    assert EventSplitter().feed(event)[0] is event


def test_a_carriage_return_waits_for_the_line_feed_that_may_follow() -> None:
    """CRLF cut in its middle stays one blank line, and part of its event."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\r\n\r") == []
    assert splitter.feed(b"\ndata: 2") == [b"data: 1\r\n\r\n"]


def test_bare_carriage_returns_do_not_wait() -> None:
    """Two of them can be nothing else than a blank line."""
    assert EventSplitter().feed(b"data: 1\r\r") == [b"data: 1\r\r"]


def test_an_endless_event_is_not_held() -> None:
    """Over the limit it leaves in pieces that are no events, and the next event is found again."""
    splitter = EventSplitter(max_event=100)
    pieces: list[bytes] = []
    for _ in range(50):
        pieces += splitter.feed(b"data: " + b"x" * 30)
        assert len(splitter.rest) <= 136
    pieces += splitter.feed(b"\n\ndata: 1\n\n")
    assert b"".join(pieces) == (b"data: " + b"x" * 30) * 50 + b"\n\ndata: 1\n\n"
    assert data_of(pieces[-1]) == b"1"


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: 1\n\n", b"1"),
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"data\n\n", b""),
        (b"data: 1\ndata: 2\n\n", b"1\n2"),
        (b"data: 1\rdata: 2\n\n", b"1\n2"),
        (b": ping\n\n", None),
        (b"event: a\nid: 1\n\n", None),
        (b"datas: 1\n\n", None),
        (b"\n\n", None),
        (b"\xef\xbb\xbfdata: 1\n\n", b"1"),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes | None) -> None:
    """The data field as the standard joins it; None where there is none."""
    assert data_of(event) == data
