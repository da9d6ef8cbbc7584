"""Streams: what is taken out, what is held, and what several choices add up to."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, parse_request
from llmgate.usage.meter import Meter, meter_for
from llmgate.usage.model import Certainty, Reading, Usage
from llmgate.usage.stripping import skim, without_member

VLLM, OPENAI, LLAMA = DIALECTS["vllm"], DIALECTS["openai"], DIALECTS["llama_server"]
VALUES = st.recursive(
    st.none()
    | st.integers(0, 9)
    | st.sampled_from(["usage", '"usage":', '\\"usage\\":1', "}", ',"usage":null']),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "a", "b", "\\"]), children, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["choices", "delta", "a", "usage", "z"]), VALUES, max_size=5)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


def meter(dialect: Dialect = VLLM, endpoint: Endpoint = Endpoint.CHAT, **fields: object) -> Meter:
    model_request = ask_for(endpoint, **fields)
    return meter_for(dialect, model_request, status=200, content_type=b"text/event-stream")


def ask_for(endpoint: Endpoint, **fields: object) -> ModelRequest:
    return parse_request(endpoint, json.dumps({"stream": True, **fields}).encode())


def event(fields: object, separators: tuple[str, str] = (",", ":")) -> bytes:
    return b"data: " + json.dumps(fields, separators=separators).encode() + b"\n\n"


def chunk(index: int, text: str, made: int, taken: int = 7, finish: str | None = None) -> dict[str, object]:
    usage = {"prompt_tokens": taken, "total_tokens": taken + made, "completion_tokens": made}
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "x", "choices": [choice], "usage": usage}


@given(OBJECTS, SEPARATORS)
def test_the_objects_own_usage_goes_and_nothing_else(fields: dict, separators: tuple[str, str]) -> None:
    """Whatever is nested in it or written in its strings, before or after, however it is spaced."""
    stripped = meter().feed(event(fields, separators))
    if fields.get("usage") is not None and fields.get("choices") in (None, []):
        assert stripped == b""
    else:
        rest = {key: value for key, value in fields.items() if key != "usage"}
        assert stripped == event(rest, separators)


@given(st.lists(OBJECTS, max_size=5), st.lists(st.integers(0, 999), max_size=5), SEPARATORS, st.booleans())
def test_cuts_change_neither_bytes_nor_reading(
    objects: list[dict], cuts: list[int], separators: tuple[str, str], crlf: bool
) -> None:
    """A stream in any pieces is the same stream."""
    stream = b": hello\n\n" + b"".join(event(fields, separators) for fields in objects) + b"data: [DONE]\n\n"
    if crlf:
        stream = stream.replace(b"\n", b"\r\n")
    whole, pieces = meter(LLAMA), meter(LLAMA)
    expected = whole.feed(stream) + whole.end()
    edges = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    seen = [pieces.feed(stream[start:end]) for start, end in pairwise(edges)]
    assert b"".join(seen) + pieces.end() == expected
    assert pieces.reading(True) == whole.reading(True)


@given(st.lists(OBJECTS | st.integers(0, 99).map(lambda made: chunk(0, '","usage":{}}', made)), min_size=1))
def test_the_short_way_takes_out_what_the_long_one_does(objects: list[dict]) -> None:
    """And knows the last usage, or leaves all of it to the long way."""
    events = [event(fields) for fields in objects]
    if (skimmed := skim(b"".join(events))) is not None:
        stripped, usage = skimmed
        assert stripped == b"".join(
            event({key: value for key, value in fields.items() if key != "usage"}) for fields in objects
        )
        assert json.loads(bytes(usage)) == objects[-1]["usage"]


def test_a_run_of_plain_chunks_goes_the_short_way() -> None:
    """Several in one piece, and the counts of the last one stand if the stream is cut there."""
    pieces = [event(chunk(0, text, made)) for made, text in enumerate("abcd", start=1)]
    assert skim(b"".join(pieces)) is not None
    cut = meter()
    cut.feed(event({"model": "m", **chunk(0, "", 0)}))
    out = cut.feed(b"".join(pieces))
    assert out.count(b"data: ") == 4
    assert b"usage" not in out
    assert cut.reading(finished=False) == Reading(Usage(7, 4), Certainty.PARTIAL)


@pytest.mark.parametrize(
    "odd",
    [
        event(chunk(0, "z", 9, finish="stop")),
        event({**chunk(0, "z", 9), "error": {"message": "m"}}),
        event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}),
        event({**chunk(0, "z", 9), "usage": {"prompt_tokens": 7, "details": {}}}),
        event(chunk(0, "z", 9)).replace(b"\n", b"\r\n"),
        event(chunk(0, "z", 9))[:-1],
        b": a comment\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_whatever_is_not_plain_goes_the_long_way(odd: bytes) -> None:
    """An end, an error, a final usage, another form, or a part of an event, among plain chunks."""
    plain = event(chunk(0, "a", 1))
    assert skim(plain + odd) is None
    assert skim(odd + plain) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'data: {"a":1,"usage":{"x":{}},"b":2}\n\n', b'data: {"a":1,"b":2}\n\n'),
        (b'data: {"a":1, "usage": {"x":{}}, "b":2}\n\n', b'data: {"a":1, "b":2}\n\n'),
        (b'data: { "usage" : {"x":{}} , "b":2}\n\n', b'data: { "b":2}\n\n'),
        (b'data: {"usage":{"x":{}}}\n\n', b"data: {}\n\n"),
        (b'data: {"a":{"usage":{"x":{}}},"usage":{"x":{}}}\n\n', b'data: {"a":{"usage":{"x":{}}}}\n\n'),
        (b'data: {"usage":{"x":{}},"a":{"usage":{"x":{}}}}\n\n', b'data: {"a":{"usage":{"x":{}}}}\n\n'),
        (b'data: {"a":1,"\\u0075sage":{"x":{}}}\n\n', b'data: {"a":1,"\\u0075sage":{"x":{}}}\n\n'),
    ],
)
def test_the_member_is_cut_exactly(before: bytes, after: bytes) -> None:
    """One member, one comma; where its key cannot be found, the event stays as it is."""
    assert without_member(before, "usage", b'{"x":{}}') == after


def test_the_usage_event_of_a_client_that_did_not_ask_is_dropped() -> None:
    """It has no choices, and breaks code that reads the first."""
    stripping = meter(OPENAI)
    assert stripping.feed(event({"choices": [{"delta": {}}], "usage": None})) == event(
        {"choices": [{"delta": {}}]}
    )
    assert (
        stripping.feed(event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})) == b""
    )
    assert stripping.feed(b"data: [DONE]\n\n") == b"data: [DONE]\n\n"
    assert stripping.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


def test_what_is_no_json_object_passes() -> None:
    """Comments, `data: null`, broken JSON, unknown fields: as they came, when they came."""
    stripping = meter()
    for strange in (b": ping\n\n", b"data: null\n\n", b'data: {"usage":\n\n', b"retry: 5\n\n", b"\n\n"):
        assert stripping.feed(strange) is strange


def test_an_event_is_held_until_it_is_whole() -> None:
    """What is to be taken out of it may be in the part that is missing."""
    stripping = meter()
    whole = event(chunk(0, "a", 1))
    assert stripping.feed(whole[:50]) == b""
    assert stripping.feed(whole[50:]) == event({"id": "x", "choices": chunk(0, "a", 1)["choices"]})
    assert stripping.feed(b"data: cut") == b""
    assert stripping.end() == b"data: cut"


def test_a_terminal_chunk_waits_for_the_event_behind_it() -> None:
    """It gets back what moved to the usage event; without one, it goes on as it is."""
    terminal = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "timings": {"cache_n": 0}}
    restoring, alone = meter(LLAMA), meter(LLAMA)
    assert restoring.feed(event(terminal)) == b""
    assert restoring.feed(event(usage)) == event({**terminal, "timings": {"cache_n": 0}})
    assert alone.feed(event(terminal)) == b""
    assert alone.feed(b"data: [DONE]\n\n") == event(terminal) + b"data: [DONE]\n\n"
    assert alone.feed(event(terminal)) + alone.end() == event(terminal)


def test_a_comment_lets_a_waiting_chunk_go() -> None:
    """vLLM sends keep-alive comments (mw/busy1.txt); nothing waits longer than for the next event."""
    terminal = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    waiting = meter()
    assert waiting.feed(terminal) == b""
    assert waiting.feed(b": keep-alive\n\n") == terminal + b": keep-alive\n\n"


@pytest.mark.parametrize(
    "last",
    [b"data: [DONE]\n\n", *(event({"type": kind}) for kind in ("message_stop", "response.completed"))],
)
def test_a_meter_knows_when_the_client_has_been_told_the_end(last: bytes) -> None:
    """Clients hang up there, though the transport goes on; only a whole event tells."""
    ended = meter(endpoint=Endpoint.RESPONSES)
    ended.feed(last[:-1])
    assert not ended.finished
    ended.feed(last[-1:])
    assert ended.finished


def test_choices_add_up_when_a_continuous_stream_is_cut() -> None:
    """vLLM's chunks count their own choice; the prompt of a chat is counted once."""
    cut = meter(n=2)
    for made, index in ((0, 0), (0, 1), (3, 0), (4, 1)):
        cut.feed(event(chunk(index, "a", made)))
    assert cut.reading(False) == Reading(Usage(7, 7), Certainty.PARTIAL)
    cut.feed(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}))
    assert cut.reading(True) == Reading(Usage(7, 9), Certainty.EXACT)


def test_prompts_add_up_when_a_continuous_stream_is_cut() -> None:
    """Two prompts of 7 and 5 tokens, two copies each: choices 0 and 1 share the first."""
    cut = meter(endpoint=Endpoint.COMPLETIONS, prompt=["a", "b"], n=2)
    for index, taken in ((0, 7), (1, 7), (2, 5), (3, 5)):
        cut.feed(event(chunk(index, "a", 2, taken)))
    assert cut.reading(False) == Reading(Usage(12, 8), Certainty.PARTIAL)


def test_a_stream_that_ends_without_its_final_usage_is_partial() -> None:
    """Finished by the transport is not finished by the backend."""
    ended = meter()
    ended.feed(event(chunk(0, "a", 5)))
    assert ended.reading(True) == Reading(Usage(7, 5), Certainty.PARTIAL)


def test_one_choice_of_two_reported_is_partial() -> None:
    """llama.cpp's server reports each choice when it ends; here the second never did."""
    ended = meter(LLAMA, n=2)
    ended.feed(event({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}))
    ended.feed(event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    assert ended.reading(True) == Reading(Usage(1, 2), Certainty.PARTIAL)


@pytest.mark.parametrize(
    "failure",
    [
        {"error": {"message": "no"}},
        {"type": "error", "message": "no"},
        {"type": "response.failed", "response": {}},
    ],
)
def test_an_error_event_before_anything_was_made_costs_nothing(failure: dict[str, object]) -> None:
    """A failed request is free; `"error": null` is no failure."""
    failed = meter(endpoint=Endpoint.RESPONSES)
    failed.feed(event(failure))
    assert failed.reading(True) == Reading(Usage(0, 0), Certainty.PARTIAL)
    fine = meter(OPENAI)
    fine.feed(event({"choices": [], "error": None, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    assert fine.reading(True) == Reading(Usage(1, 2), Certainty.EXACT)


def test_text_is_estimated_wherever_it_is() -> None:
    """Reasoning and tool calls are generated too; each choice is rounded up for itself."""
    cut = meter(DIALECTS["generic"], n=2)
    tool = {"tool_calls": [{"function": {"name": "ab", "arguments": "cdef"}}]}
    cut.feed(event({"choices": [{"index": 0, "delta": {"reasoning_content": "123", "content": "45"}}]}))
    cut.feed(event({"choices": [{"index": 1, "delta": tool}]}))
    assert cut.reading(False) == Reading(
        Usage(-(-len('{"stream": true, "n": 2}') // 4), 4), Certainty.ESTIMATED
    )


def test_a_message_cut_after_its_start_keeps_its_prompt() -> None:
    """Anthropic's stream tells the input first, the output last; cached input is part of it."""
    cut = meter(endpoint=Endpoint.MESSAGES)
    start = {"usage": {"input_tokens": 1, "cache_read_input_tokens": 31, "output_tokens": 0}, "model": "m"}
    cut.feed(b"event: message_start\n" + event({"type": "message_start", "message": start}))
    assert cut.model == "m"
    assert cut.reading(True) == Reading(Usage(32, 0, 31), Certainty.PARTIAL)
    cut.feed(b"event: message_delta\n" + event({"type": "message_delta", "usage": {"output_tokens": 8}}))
    assert cut.reading(True) == Reading(Usage(32, 8, 31), Certainty.EXACT)
    assert cut.reading(False) == Reading(Usage(32, 8, 31), Certainty.PARTIAL)
