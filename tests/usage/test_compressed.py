"""An answer that comes compressed though nobody asked for it is counted all the same."""

import gzip
import json
import zlib

import pytest

from llmgate.backends.dialect import Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Certainty, Meter, Reading, Usage

from .streams import OPENAI, ask_for, event

USAGE = {"prompt_tokens": 1, "completion_tokens": 2}
STREAM = event({"choices": [{"delta": {"content": "word " * 20}}]}) + event({"choices": [], "usage": USAGE})


def meter(
    coding: bytes, dialect: Dialect = OPENAI, kind: bytes = b"text/event-stream", **fields: object
) -> Meter:
    request = ask_for(Endpoint.CHAT, **fields)
    return meter_for(dialect, request, status=200, content_type=kind, content_encoding=coding)


@pytest.mark.parametrize(("coding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
def test_a_stream_with_what_the_gate_asked_for_goes_on_decoded(coding: bytes, compress) -> None:
    """As something goes out of it (case stream-that-comes-compressed)."""
    reader = meter(coding)
    data = compress(STREAM)
    seen = b"".join([reader.feed(data[at : at + 9]) for at in range(0, len(data), 9)]) + reader.end()
    assert (reader.streams, reader.strips) == (True, True)
    assert seen == event({"choices": [{"delta": {"content": "word " * 20}}]})
    assert reader.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


def test_what_is_only_looked_at_goes_on_as_it_came() -> None:
    """A stream of a client that asked for usage itself, and a body."""
    options = {"stream_options": {"include_usage": True}}
    for reader, plain in (
        (meter(b"gzip", **options), STREAM),
        (meter(b"gzip", kind=b"application/json", stream=False), json.dumps({"usage": USAGE}).encode()),
    ):
        data = gzip.compress(plain)
        assert reader.feed(data) is data
        assert reader.end() == b""
        assert reader.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


def test_deflate_without_its_wrapper_is_read_as_well() -> None:
    """As some servers send it (RFC 9110 8.4.1.2), and in pieces of a byte."""
    reader = meter(b"deflate")
    data = zlib.compress(STREAM, wbits=-zlib.MAX_WBITS)
    seen = b"".join([reader.feed(data[at : at + 1]) for at in range(len(data))]) + reader.end()
    assert seen == event({"choices": [{"delta": {"content": "word " * 20}}]})
    assert reader.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip", b"gzip, br"])
def test_what_cannot_be_decoded_is_estimated_by_its_length(coding: bytes) -> None:
    """Never nothing."""
    reader = meter(coding, stream_options={"include_usage": True})
    data = b"no such coding " * 100
    assert reader.streams
    assert reader.feed(data) is data
    reading = reader.reading(True)
    assert reading is not None
    assert reading.certainty is Certainty.ESTIMATED
    assert reading.usage.output_tokens >= len(data)
