"""Answers that are no streams are read at their end."""

import json

import pytest

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, parse_request
from llmgate.usage.body import body_reading
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Certainty, Reading, Usage
from llmgate.usage.report import members_of

from .streams import LLAMA

VLLM = DIALECTS["vllm"]
JSON = b"application/json"


def ask_for(endpoint: Endpoint = Endpoint.CHAT, **fields: object) -> ModelRequest:
    return parse_request(endpoint, json.dumps(fields).encode())


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


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"completion_tokens": 2, "total_tokens": 7}, Usage(5, 2)),
        (
            {"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}},
            Usage(3, 2, 1),
        ),
        ({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 9}, Usage(10, 2, 9)),
        ({"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 4}, Usage(5, 2)),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
            Usage(1, 9, 0, 8),
        ),
    ],
)
def test_every_way_to_write_usage(usage: object, expected: Usage) -> None:
    """Zero is zero; what one API leaves out follows from the total."""
    assert read(json.dumps({"usage": usage}).encode()) == Reading(expected, Certainty.EXACT)


@pytest.mark.parametrize(
    "usage", [None, {}, {"type": "duration", "seconds": 3}, {"prompt_tokens": -1}, [], "5"]
)
def test_missing_usage_is_not_zero(usage: object) -> None:
    """What counts no tokens is no report: the answer is estimated, from a request of 2 bytes and its text."""
    choices = [
        {"message": {"content": "hällo", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}
    ]
    body = json.dumps({"choices": choices, "usage": usage}).encode()
    assert read(body) == Reading(Usage(1, 3), Certainty.ESTIMATED)


@pytest.mark.parametrize(
    "body",
    [
        {"text": "12345678"},
        {"content": [{"type": "text", "text": "12345678"}]},
        {"output": [{"content": [{"text": "1234"}]}, {"arguments": "5678"}]},
        {"choices": [{"text": "12345678"}]},
    ],
)
def test_text_is_found_wherever_an_api_puts_it(body: object) -> None:
    """Eight bytes are two tokens, in a transcript, a message, a response or a completion."""
    assert read(json.dumps(body).encode()) == Reading(Usage(1, 2), Certainty.ESTIMATED)


def test_an_answer_of_nothing_still_made_a_token() -> None:
    """Estimates do not fall to nothing, save where the endpoint makes no tokens."""
    assert read(b"{}") == Reading(Usage(1, 1), Certainty.ESTIMATED)
    assert read(b"{}", model_request=ask_for(Endpoint.EMBEDDINGS)) == Reading(
        Usage(1, 0), Certainty.ESTIMATED
    )


def test_an_error_under_status_200_used_nothing_that_is_known() -> None:
    """Some backends answer 200 and an error object."""
    assert read(b'{"error":{"message":"no"}}') == Reading(Usage(0, 0), Certainty.PARTIAL)


def test_sound_is_not_kept_nor_taken_for_text() -> None:
    """An answer in audio makes no text to estimate from."""
    reading = read(b"RIFF" * 1000, kind=b"audio/wav", model_request=ask_for(Endpoint.AUDIO, input="hello"))
    assert reading == Reading(Usage(5, 1), Certainty.ESTIMATED)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3},"data":"', b'"}'),
        (b'{"data":"', b'","usage":{"prompt_tokens":3,"total_tokens":3}}'),
        (b'{"data":"', b'", "usage" : {"prompt_tokens":3,"total_tokens":3}, "more":"' + b"x" * 5000 + b'"}'),
    ],
)
def test_of_a_large_body_only_the_ends_are_kept(head: bytes, tail: bytes) -> None:
    """Embeddings come in megabytes; usage stands at either end."""
    model_request = ask_for(Endpoint.EMBEDDINGS)
    meter = meter_for(VLLM, model_request, status=200, content_type=JSON)
    for piece in [head, *[b"x" * 10_000] * 200, tail]:
        assert meter.feed(piece) is piece
    held = sum(len(piece) for piece in (*meter._pieces, meter._head, meter._tail))
    assert held <= 64 * 1024
    assert meter.reading(True) == Reading(Usage(3, 0), Certainty.EXACT)
    assert meter.reading(False) == Reading(Usage(3, 0), Certainty.PARTIAL)


def test_a_body_cut_before_its_usage_is_estimated_from_what_came() -> None:
    """40 bytes are ten tokens; a body that is whole counts whole, though the client had left."""
    whole = b'{"choices":[{"message":{"content":"abcd"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    assert read(whole[:40], finished=False) == Reading(Usage(1, 10), Certainty.ESTIMATED)
    assert read(b"", finished=False) == Reading(Usage(1, 0), Certainty.ESTIMATED)
    assert read(whole, finished=False) == Reading(Usage(3, 1), Certainty.EXACT)


def test_a_hostile_body_is_not_followed_into_the_depths() -> None:
    """Deep nesting is no usage, in whole bodies and at the ends of large ones."""
    deep = b'{"usage":' + b'{"usage":' * 100_000
    for body in (deep, deep * 2):
        reading = read(body)
        assert reading is not None
        assert reading.certainty is Certainty.ESTIMATED


def test_prompts_of_token_ids_are_known() -> None:
    """llama.cpp's server counts the first of a batch; how many ids each has stands in the request."""
    request = parse_request(Endpoint.COMPLETIONS, b'{"prompt":[[1,2,3],[4,5]],"max_tokens":3}')
    choices = [{"index": index, "text": "a b c", "finish_reason": "length"} for index in (0, 1)]
    body = {"choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 3}}
    reading = body_reading(LLAMA, request, members_of(json.dumps(body).encode()) or {})
    assert reading == Reading(Usage(5, 6), Certainty.EXACT)
    body["usage"] = {
        "prompt_tokens": 4,
        "completion_tokens": 3,
    }  # with a token of its own: not as many as ids
    assert body_reading(LLAMA, request, members_of(json.dumps(body).encode()) or {}).certainty == "estimated"


@pytest.mark.parametrize("kind", [b"application/vnd.api+json", b"application/octet-stream", b"multipart/x"])
def test_json_is_read_under_any_type(kind: bytes) -> None:
    assert read(b' {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}', kind=kind) == Reading(
        Usage(3, 4), Certainty.EXACT
    )


def test_a_number_that_is_json_to_some_alone_hides_no_usage() -> None:
    """Python writes NaN, which logprobs may be."""
    body = b'{"choices": [{"logprobs": NaN, "text": "a"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    assert read(body) == Reading(Usage(3, 4), Certainty.EXACT)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"tools": [{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}]}, {}),
        ({}, {"tools": [{"usage": {"prompt_tokens": 1, "completion_tokens": 1}}]}),
        ({}, {"metadata": {"usage": "none"}}),
    ],
)
def test_of_a_long_answer_its_own_usage_counts(before: dict[str, object], after: dict[str, object]) -> None:
    """Not what a member has within, which may be the caller's word: responses repeat their tools and metadata."""
    usage = {"prompt_tokens": 3, "completion_tokens": 20_000}
    body = json.dumps({"text": "x" * 2_000_000, **before, "usage": usage, **after}).encode()
    assert read(body) == Reading(Usage(3, 20_000), Certainty.EXACT)
    body = json.dumps({**after, "usage": usage, **before, "text": "x" * 2_000_000}).encode()
    assert read(body) == Reading(Usage(3, 20_000), Certainty.EXACT)


def test_who_asks_first_for_a_short_prompt_pays_for_the_long_ones() -> None:
    """llama.cpp's server counts the first prompt of a batch alone."""
    request = ask_for(Endpoint.COMPLETIONS, prompt=["a", "word " * 400, [1, 2]], max_tokens=2)
    choices = [{"index": at, "text": "b", "finish_reason": "length"} for at in range(3)]
    body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode()
    reading = read(body, dialect=LLAMA, model_request=request)
    assert reading == Reading(Usage(1 + 501 + 2, 6), Certainty.ESTIMATED)


def test_a_long_answer_of_many_choices_is_not_charged_as_its_first_alone() -> None:
    """The same server, whose answer is over 1 MiB by its logprobs."""
    request = ask_for(n=20)
    logprobs = {"content": [{"token": "a", "logprob": -1.0}] * 4_000}
    choices = [{"index": at, "message": {"content": "word " * 100}, "logprobs": logprobs} for at in range(20)]
    body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 1}}).encode()
    for size in (65_536, len(body)):
        meter = meter_for(LLAMA, request, status=200, content_type=JSON)
        for at in range(0, len(body), size):
            meter.feed(body[at : at + size])
        reading = meter.reading(True)
        assert reading is not None
        assert reading.certainty is Certainty.ESTIMATED
        assert reading.usage.input_tokens == 9
        assert 2_000 <= reading.usage.output_tokens <= 3_000


def test_where_all_choices_ran_into_the_limit_the_count_of_one_is_not_that_of_all() -> None:
    """llama.cpp's server, taken for another."""
    choices = [{"index": at, "message": {"content": "a"}, "finish_reason": "length"} for at in range(3)]
    for made, told in ((20, 60), (60, 60)):
        usage = {"prompt_tokens": 7, "completion_tokens": made, "total_tokens": 7 + made}
        body = json.dumps({"choices": choices, "usage": usage}).encode()
        assert read(body, model_request=ask_for(n=3, max_tokens=20)) == Reading(
            Usage(7, told), Certainty.EXACT
        )


def test_the_text_of_other_choices_has_as_many_tokens_for_each_byte_as_the_first() -> None:
    """What a model makes of one prompt is of one kind: digits, say, of which each is a token."""
    texts = ["1234567890", "1234", ""]
    choices = [{"index": at, "text": text, "finish_reason": "stop"} for at, text in enumerate(texts)]
    body = json.dumps({"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 11}}).encode()
    reading = read(body, dialect=LLAMA, model_request=ask_for(Endpoint.COMPLETIONS, n=3))
    assert reading == Reading(Usage(7, 11 + 5 + 1), Certainty.ESTIMATED)
