"""What the gate asks backends for, which meter an answer gets, and how answers without streams are read."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, parse_request, rewrite
from llmgate.usage.meter import inject, meter_for
from llmgate.usage.model import Certainty, Reading, Usage

VLLM, LLAMA, LLAMA_CPP = DIALECTS["vllm"], DIALECTS["llama_server"], DIALECTS["llama_cpp_python"]
JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
BOTH = {"include_usage": True, "continuous_usage_stats": True}


def ask_for(endpoint: Endpoint = Endpoint.CHAT, **fields: object) -> ModelRequest:
    return parse_request(endpoint, json.dumps(fields).encode())


def injected(dialect: Dialect, model_request: ModelRequest) -> object:
    body = msgspec.json.decode(rewrite(model_request, **inject(dialect, model_request)))
    return body.get("stream_options", "none")


@pytest.mark.parametrize(
    ("dialect", "endpoint", "options", "expected"),
    [
        ("vllm", Endpoint.CHAT, None, BOTH),
        ("vllm", Endpoint.COMPLETIONS, None, BOTH),
        ("vllm", Endpoint.CHAT, {"include_usage": True}, BOTH),
        ("vllm", Endpoint.CHAT, {"include_usage": False, "x": [1]}, {**BOTH, "x": [1]}),
        ("openai", Endpoint.CHAT, None, {"include_usage": True}),
        ("ollama", Endpoint.CHAT, None, {"include_usage": True}),
        ("llama_server", Endpoint.CHAT, None, {"include_usage": True}),
    ],
)
def test_usage_is_asked_for(dialect: str, endpoint: Endpoint, options: object, expected: object) -> None:
    """As far as the dialect knows how, and beside the client's own options."""
    model_request = ask_for(endpoint, stream=True, stream_options=options)
    assert injected(DIALECTS[dialect], model_request) == expected


@pytest.mark.parametrize(
    ("dialect", "endpoint", "fields"),
    [
        ("vllm", Endpoint.CHAT, {"stream": False}),
        ("vllm", Endpoint.CHAT, {"stream": True, "stream_options": BOTH}),
        ("openai", Endpoint.CHAT, {"stream": True, "stream_options": {"include_usage": True}}),
        ("vllm", Endpoint.RESPONSES, {"stream": True}),
        ("vllm", Endpoint.MESSAGES, {"stream": True}),
        ("llama_server", Endpoint.COMPLETIONS, {"stream": True, "timings_per_token": True}),
        ("llama_server", Endpoint.MESSAGES, {"stream": True}),
        ("llama_cpp_python", Endpoint.CHAT, {"stream": True}),
        ("generic", Endpoint.CHAT, {"stream": True}),
    ],
)
def test_nothing_is_asked_where_it_is_reported_anyhow_or_never(
    dialect: str, endpoint: Endpoint, fields: dict[str, object]
) -> None:
    """No stream, asked already, reported unasked, or not known to the dialect."""
    assert inject(DIALECTS[dialect], ask_for(endpoint, **fields)) == {}


@pytest.mark.parametrize(
    ("endpoint", "fields", "expected"),
    [
        (Endpoint.CHAT, {}, {"stream_options": {"include_usage": True}, "timings_per_token": True}),
        (Endpoint.CHAT, {"stream_options": {"include_usage": True}}, {"timings_per_token": True}),
        (Endpoint.CHAT, {"timings_per_token": True}, {"stream_options": {"include_usage": True}}),
        (Endpoint.COMPLETIONS, {"timings_per_token": False}, {"timings_per_token": True}),
        (Endpoint.RESPONSES, {}, {"timings_per_token": True}),
    ],
)
def test_llama_cpp_is_asked_for_its_counts_while_it_streams(
    endpoint: Endpoint, fields: dict[str, object], expected: dict[str, object]
) -> None:
    """Wherever it says them without losing anything else."""
    assert inject(LLAMA, ask_for(endpoint, stream=True, **fields)) == expected


def read(
    body: bytes,
    *,
    dialect: Dialect = VLLM,
    model_request: ModelRequest | None = None,
    kind: bytes | None = JSON,
    finished: bool = True,
) -> Reading | None:
    meter = meter_for(dialect, model_request or ask_for(), status=200, content_type=kind)
    assert meter.feed(body) is body
    assert meter.end() == b""
    return meter.reading(finished)


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_an_error_answer_used_nothing(status: int) -> None:
    """Exactly nothing, whatever its body says, and finished or not."""
    meter = meter_for(VLLM, ask_for(), status=status, content_type=JSON)
    meter.feed(b'{"usage":{"prompt_tokens":5}}')
    assert meter.reading(True) == meter.reading(False) == Reading(Usage(0, 0), Certainty.EXACT)


def test_other_endpoints_are_not_counted() -> None:
    """No reading, no record."""
    assert read(b'{"usage":{"prompt_tokens":5}}', model_request=ask_for(Endpoint.OTHER)) is None


@given(st.binary(max_size=80), st.sampled_from([JSON, EVENTS, None, b"text/plain"]), st.booleans())
def test_no_answer_breaks_a_meter(body: bytes, kind: bytes | None, finished: bool) -> None:
    """Whatever a backend sends, the bytes come out and there is a reading."""
    for dialect in DIALECTS.values():
        meter = meter_for(dialect, ask_for(stream=True), status=200, content_type=kind)
        assert meter.feed(body) + meter.end() == body
        assert meter.reading(finished) is not None
