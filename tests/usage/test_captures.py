"""Every captured answer of a real backend is counted rightly, however its bytes arrive, and stays as it was."""

import json

import pytest
from msgspec import structs

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.errors import BadRequest
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Certainty, Reading, Usage

from . import captures
from .captures import Capture, load, masked
from .expected import EXPECTED

REFUSED = (
    "err_dup_keys",
    "err_malformed_json",
    "err_negative_max_tokens",
    "err_not_object",
    "err_wrong_type",
)
ANSWERED = [name for name in captures.names() if "gzip_body" not in name and not name[:-4].endswith(REFUSED)]
METERED = sorted(EXPECTED)
STREAMS = [name for name in METERED if load(name).is_stream]
SHORT_STREAMS = [name for name in STREAMS if len(load(name).answer) < 6_000]
SEVERAL = {name for name in METERED if "_n2" in name or "_list_" in name}


@pytest.mark.parametrize("name", ANSWERED)
def test_every_answer_is_read_as_the_table_says(name: str) -> None:
    """An answer is in the table, or is an error that used nothing, or is of no counted endpoint."""
    capture = load(name)
    meter = capture.meter()
    meter.feed(capture.answer)
    meter.end()
    reading = meter.reading(finished=True)
    if capture.endpoint is Endpoint.OTHER:
        assert reading is None
    elif capture.status >= 400:
        assert reading == Reading(Usage(0, 0), Certainty.EXACT)
    else:
        taken, made, cached, certainty = EXPECTED[name]
        assert (reading.usage, reading.certainty) == (Usage(taken, made, cached), certainty)
        told = b'"predicted_ms"' in capture.answer and capture.model_request().choices == 1
        assert (reading.engine_seconds is not None) is told


@pytest.mark.parametrize("name", [name for name in captures.names() if name[:-4].endswith(REFUSED)])
def test_a_request_that_backends_read_in_different_ways_is_refused(name: str) -> None:
    """Backends answered these with anything from 200 to 500; the gate says what is wrong, and where."""
    with pytest.raises(BadRequest, match=r"^body"):
        load(name).model_request()


@pytest.mark.parametrize("name", sorted(set(METERED) - SEVERAL))
def test_the_table_holds_the_numbers_that_the_backend_gave(name: str) -> None:
    """Read by other means: the last usage that stands anywhere in the answer."""
    taken, made, _, certainty = EXPECTED[name]
    usage = _plain_usage(load(name))
    if certainty is Certainty.ESTIMATED:
        assert usage == {}
        return
    anthropic = usage.get("input_tokens", 0) + usage.get("cache_read_input_tokens", 0)
    anthropic += usage.get("cache_creation_input_tokens", 0)
    timings = usage.get("cache_n", 0) + usage.get("prompt_n", 0)
    assert taken == usage.get("prompt_tokens", anthropic or timings)
    outputs = ("completion_tokens", "output_tokens", "predicted_n")
    assert made == next((usage[key] for key in outputs if key in usage), 0)


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_a_stream_gives_the_same_bytes_and_the_same_reading(name: str) -> None:
    """Every cut at once: no place in a stream is special."""
    capture = load(name)
    whole, pieces = capture.meter(), capture.meter()
    expected = whole.feed(capture.answer) + whole.end()
    stripped = b"".join([pieces.feed(bytes([byte])) for byte in capture.answer]) + pieces.end()
    assert stripped == expected
    assert pieces.reading(finished=True) == whole.reading(finished=True)
    assert pieces.model == whole.model


@pytest.mark.parametrize("name", SHORT_STREAMS)
def test_a_stream_cut_off_anywhere_is_never_exact_and_never_counts_back(name: str) -> None:
    """The reading of a cut stream grows with what has arrived, and is its last word or an estimate.

    Where text has passed that the last word does not cover, it is an estimate again, and no less.
    """
    capture = load(name)
    meter = capture.meter()
    last = Reading(Usage(0, 0), Certainty.ESTIMATED)
    for byte in capture.answer:
        meter.feed(bytes([byte]))
        reading = meter.reading(finished=False)
        assert reading is not None
        assert reading.certainty in (Certainty.PARTIAL, Certainty.ESTIMATED)
        if reading.certainty is last.certainty:
            known = reading.certainty is Certainty.PARTIAL
            assert not known or reading.usage.input_tokens >= last.usage.input_tokens
            assert reading.usage.output_tokens >= last.usage.output_tokens
        elif reading.certainty is Certainty.ESTIMATED:
            assert reading.usage.output_tokens >= last.usage.output_tokens
        last = reading


@pytest.mark.parametrize(
    ("asked", "native"),
    [
        ("vllm/main/chat_stream_continuous.txt", "vllm/main/chat_stream.txt"),
        ("vllm/main/chat_stream_usage.txt", "vllm/main/chat_stream.txt"),
        ("vllm/main/completions_stream_usage.txt", "vllm/main/completions_stream.txt"),
        ("llama_server/chat_stream_usage.txt", "llama_server/chat_stream.txt"),
    ],
)
def test_what_the_gate_asks_for_does_not_show(asked: str, native: str) -> None:
    """A stream with injected usage reaches the client as the backend's own stream without it, ids aside."""
    direct, injected = load(native), load(asked)
    meter = direct.meter()
    seen = meter.feed(injected.answer) + meter.end()
    assert masked(seen) == masked(direct.answer)
    reading = meter.reading(finished=True)
    assert reading is not None
    assert structs.replace(reading, engine_seconds=None) == injected_reading(asked)


def injected_reading(name: str) -> Reading:
    taken, made, cached, certainty = EXPECTED[name]
    return Reading(Usage(taken, made, cached), certainty)


@pytest.mark.parametrize("name", ["vllm/mw/busy1.txt", "vllm/mw/stream.txt", "vllm/smollm2/tool_stream.txt"])
def test_only_the_usage_leaves_each_chunk(name: str) -> None:
    """Chunk by chunk, the client gets the object that came, less its usage, and no chunk without choices."""
    capture = load(name)
    meter = capture.meter()
    seen = _objects(meter.feed(capture.answer) + meter.end())
    sent = [chunk for chunk in _objects(capture.answer) if chunk["choices"]]
    assert [without_fingerprint(chunk) for chunk in seen] == [
        {key: value for key, value in chunk.items() if key != "usage"} for chunk in sent
    ]
    assert seen[-1]["system_fingerprint"] == _objects(capture.answer)[-1]["system_fingerprint"]


def without_fingerprint(chunk: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in chunk.items() if key != "system_fingerprint"}


def test_a_client_that_asked_for_the_final_usage_gets_that_and_no_more() -> None:
    """Continuous usage on top of the client's own wish shows in no chunk; its usage event stays as it came."""
    continuous = load("vllm/main/chat_stream_continuous.txt")
    asked = load("vllm/main/chat_stream_usage.txt")
    meter = asked.meter()
    assert masked(meter.feed(continuous.answer) + meter.end()) == masked(asked.answer)


def test_a_client_that_asked_for_everything_gets_the_same_object() -> None:
    """Nothing to take out: no copy, no delay."""
    capture = load("vllm/main/chat_stream_continuous.txt")
    meter = capture.meter()
    assert meter.feed(capture.answer) is capture.answer
    assert meter.end() == b""


@pytest.mark.parametrize("name", [name for name in METERED if load(name).dialect.name == "llama_cpp_python"])
def test_a_backend_that_is_asked_nothing_is_passed_through(name: str) -> None:
    """Where no usage was injected the answer goes on as it is."""
    capture = load(name)
    assert capture.meter().feed(capture.answer) is capture.answer


def test_two_choices_of_which_one_is_reported() -> None:
    """llama.cpp's server: both ran into max_tokens, so both are as long as the one it reports."""
    capture = load("llama_server/chat_n2_logprobs.txt")
    stopped = capture.answer.replace(
        b'"finish_reason":"length","index":1', b'"finish_reason":"stop","index":1'
    )
    meter = capture.meter()
    meter.feed(stopped)
    # "Greetings" is 9 bytes: three tokens, by the estimate, beside the three that were reported.
    assert meter.reading(finished=True) == Reading(Usage(32, 6, 31), Certainty.ESTIMATED)


def test_an_error_in_the_stream_leaves_the_last_count() -> None:
    """vLLM's engine dies under a 200 stream: 244 tokens had come, and that is what is known."""
    capture = load("vllm/mw/engine_death_stream.txt")
    meter = capture.meter()
    seen = meter.feed(capture.answer) + meter.end()
    assert b'data: {"error": {"message": "EngineCore encountered' in seen
    assert seen.rstrip().endswith(b"data: [DONE]")
    assert meter.reading(finished=True) == Reading(Usage(17, 244), Certainty.PARTIAL)


def test_timings_and_usage_of_llama_cpp_agree() -> None:
    """Wherever the server gives both, they count the same, so that either can be relied upon."""
    compared = 0
    for name in captures.names():
        if not name.startswith("llama_server/"):
            continue
        for found in _objects(load(name).answer):
            usage, timings = found.get("usage"), found.get("timings")
            if usage and timings and "prompt_tokens" in usage:
                assert usage["prompt_tokens"] == timings["cache_n"] + timings["prompt_n"]
                assert usage["completion_tokens"] == timings["predicted_n"]
                compared += 1
    assert compared > 10


def test_an_unknown_backend_is_estimated_from_its_text() -> None:
    """The generic dialect asks for nothing; 8 chunks are 8 tokens at least, the request's 112 bytes 28."""
    capture = load("vllm/main/chat_stream.txt")
    model_request = parse_request(Endpoint.CHAT, capture.request)
    meter = meter_for(DIALECTS["generic"], model_request, status=200, content_type=b"text/event-stream")
    assert meter.feed(capture.answer) is capture.answer
    estimated = Usage(-(-len(capture.request) // 4), 8)
    assert meter.reading(finished=True) == Reading(estimated, Certainty.ESTIMATED)


def _objects(answer: bytes) -> list[dict]:
    if answer.startswith(b"{"):
        return [json.loads(answer)]
    lines = [line.removeprefix(b"data: ") for line in answer.split(b"\n")]
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def _plain_usage(capture: Capture) -> dict[str, int]:
    usage: dict[str, int] = {}
    for found in _objects(capture.answer):
        inner = found.get("response") or found.get("message") or found
        usage |= inner.get("usage") or found.get("timings") or {}
    return usage
