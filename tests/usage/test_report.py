"""Usage is read wherever its vendor puts it, under whatever names; one odd number takes nothing from the others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.usage.report import Report, is_error, members_of, number_of, raw_usage, report_of

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cache_read_input_tokens",
        "prompt_n",
        "cache_n",
        "predicted_n",
        "tokens",
    ]
)


def said(usage: object) -> Report | None:
    return report_of(json.dumps(usage).encode())


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 11.0, "completion_tokens": 7.0, "total_tokens": 18.0}, Report(11, 7)),
        ({"prompt_tokens": "11", "completion_tokens": 7}, Report(11, 7)),
        ({"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": []}, Report(11, 7)),
        ({"prompt_tokens": 11, "completion_tokens": 7, "cache_n": None}, Report(11, 7)),
        (
            {
                "prompt_tokens": 11,
                "completion_tokens": 7,
                "completion_tokens_details": {"reasoning_tokens": 3.5},
            },
            Report(11, 7),
        ),
        ({"prompt_tokens": 11, "completion_tokens": -7}, Report(11, None)),
        ({"prompt_tokens": 11, "completion_tokens": 2**63}, Report(11, None)),
        ({"prompt_tokens": 11, "completion_tokens": 10**500}, Report(11, None)),
        ({"prompt_tokens": 11, "completion_tokens": 7.5}, Report(11, None)),
        ({"prompt_tokens": 11, "completion_tokens": None, "total_tokens": 18}, Report(11, 7)),
        ({"prompt_tokens": True, "completion_tokens": 7}, Report(None, 7)),
        ({"prompt_tokens": 11, "total_tokens": 5}, Report(11, None)),
        ({"seconds": 3, "type": "duration"}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_what_can_be_read_is_read(usage: object, expected: Report | None) -> None:
    """A fraction, a null, a list or a number beyond all answers counts as not reported, by itself alone."""
    assert said(usage) == expected


def test_more_from_the_cache_than_went_in_is_not_more_than_went_in() -> None:
    usage = Report(5, 7, cached=9, reasoning=8).usage(input_tokens=0, output_tokens=0)
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == (
        5,
        5,
        7,
        7,
    )


@pytest.mark.parametrize(
    "body", [{"meta": {"version": 1}}, {"timings": None}, {"choices": [{"usage": None}]}, {}]
)
def test_a_member_that_counts_nothing_is_no_usage(body: object) -> None:
    assert raw_usage(members_of(json.dumps(body).encode()) or {}) is None


@given(st.dictionaries(NAMES, JSON), JSON)
def test_no_shape_breaks_it_or_makes_numbers_that_were_not_there(
    usage: dict[str, object], choices: object
) -> None:
    """Counts, if any, are whole, not negative, and within what an answer can have."""
    members = members_of(json.dumps({"usage": usage, "choices": choices, "meta": usage}).encode()) or {}
    report = report_of(raw_usage(members))
    if report is not None:
        for number in (report.input, report.output, report.cached, report.reasoning):
            assert number is None or 0 <= number <= 2**42


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_good_numbers_are_read_next_to_anything(taken: int, made: int, odd: dict[str, object]) -> None:
    """What else a vendor adds, and in whatever form."""
    usage = {**odd, "prompt_tokens": taken, "completion_tokens": made, "total_tokens": taken + made}
    report = said(usage)
    assert report is not None
    assert (report.input, report.output) == (taken, made)


@given(st.binary(max_size=20))
def test_no_bytes_are_a_number_by_accident(raw: bytes) -> None:
    number = number_of(raw)
    assert number is None or 0 <= number <= 2**40


def test_what_says_that_the_backend_gave_up() -> None:
    assert is_error({"error": b'{"message":"no"}'})
    assert is_error({"type": b'"response.failed"'})
    assert not is_error({"error": b"null"})
    assert not is_error({"type": b'"message_stop"'})


_PLACES = (
    "cached_tokens",
    "reasoning_tokens",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "tokens",
)


@given(
    st.integers(0, 9),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(_PLACES), st.integers(-2, 9) | JSON),
    st.dictionaries(
        st.sampled_from(["prompt_tokens_details", "completion_tokens_details"]),
        JSON | st.dictionaries(st.sampled_from(_PLACES), st.integers(-2, 9) | st.none()),
    ),
)
def test_the_short_way_to_the_usual_shape_reads_what_the_long_one_does(
    taken: int, made: int, beside: dict[str, object], details: dict[str, object]
) -> None:
    """SGLang and Perplexity have `reasoning_tokens` beside the counts, LiteLLM what came from the cache."""
    usage = {
        "prompt_tokens": taken,
        "completion_tokens": made,
        "total_tokens": taken + made,
        **beside,
        **details,
    }
    assert said(usage) == report_of(members_of(json.dumps(usage).encode()))
