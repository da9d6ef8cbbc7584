"""An answer that does not say that it is a stream is read as what its first bytes are."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.endpoint import Endpoint
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Certainty, Meter, Reading, Usage

from .streams import OPENAI, ask_for, event

USAGE = {"prompt_tokens": 1, "completion_tokens": 2}
STREAM = (
    event({"choices": [{"delta": {"content": "a"}}]})
    + event({"choices": [], "usage": USAGE})
    + b"data: [DONE]\n\n"
)
BODY = json.dumps({"choices": [], "usage": USAGE}).encode()


def meter(kind: bytes | None) -> Meter:
    return meter_for(OPENAI, ask_for(Endpoint.CHAT), status=200, content_type=kind)


@pytest.mark.parametrize("kind", [None, b"text/plain", b"application/json", b"application/octet-stream"])
@pytest.mark.parametrize("before", [b"", b": ping\n\n", b"\xef\xbb\xbf", b"event: x\n", b"\r\n"])
def test_events_under_another_label_are_events(kind: bytes | None, before: bytes) -> None:
    """Byte by byte, too: what was asked for is taken out, and they go on as they come."""
    reader = meter(kind)
    seen = b"".join([reader.feed(bytes([byte])) for byte in before + STREAM]) + reader.end()
    assert (reader.streams, reader.finished) == (True, True)
    assert b"prompt_tokens" not in seen
    assert reader.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


def test_a_body_is_a_body() -> None:
    """What a backend answers that does not stream, though asked to."""
    reader = meter(b"application/json")
    assert reader.feed(BODY) == BODY
    assert (reader.streams, reader.finished, reader.end()) == (False, False, b"")
    assert reader.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


@given(st.binary(max_size=30), st.integers(0, 30))
def test_every_byte_comes_out(data: bytes, cut: int) -> None:
    reader = meter(b"text/plain")
    assert reader.feed(data[:cut]) + reader.feed(data[cut:]) + reader.end() == data
    assert reader.reading(True) is not None
