"""What the gate had asked for is taken out of a stream, and nothing else."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.endpoint import Endpoint
from llmgate.usage import stripping as stripping_module
from llmgate.usage.model import Certainty, Reading, Usage
from llmgate.usage.report import members_of
from llmgate.usage.stripping import skim, without_member

from .streams import LLAMA, OPENAI, chunk, event, meter

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


def timed(text: str, made: int, finish: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"choices": [choice], "id": "x", "timings": {"cache_n": 0, "prompt_n": 3, "predicted_n": made}}


def test_timings_that_the_gate_asked_for_go_out_of_each_chunk_and_stay_where_they_always_are() -> None:
    """llama.cpp's server has them on the chunk that ends a choice, or on the usage event, asked or not."""
    stripping = meter(LLAMA, Endpoint.COMPLETIONS)
    plain = {key: value for key, value in timed("a", 1).items() if key != "timings"}
    assert stripping.feed(event(timed("a", 1))) == event(plain)
    assert stripping.reading(False) == Reading(Usage(3, 1), Certainty.PARTIAL)
    assert stripping.feed(event(timed("", 1, "stop"))) == event(timed("", 1, "stop"))
    assert stripping.reading(True) == Reading(Usage(3, 1), Certainty.EXACT)


def test_timings_that_the_client_asked_for_stay() -> None:
    stripping = meter(LLAMA, timings_per_token=True)
    assert stripping.feed(event(timed("a", 1))) == event(timed("a", 1))


def test_timings_go_out_of_the_deltas_of_a_response() -> None:
    """And stay on the event that completes it (llama_server/responses_stream.txt)."""
    stripping = meter(LLAMA, Endpoint.RESPONSES)
    delta = {"type": "response.output_text.delta", "delta": "a"}
    timings = {"cache_n": 0, "prompt_n": 3, "predicted_n": 1}
    assert stripping.feed(event({**delta, "timings": timings})) == event(delta)
    assert stripping.reading(False) == Reading(Usage(3, 1), Certainty.PARTIAL)
    completed = {"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 1}}}
    assert stripping.feed(event({**completed, "timings": timings})) == event(
        {**completed, "timings": timings}
    )
    assert stripping.reading(True) == Reading(Usage(3, 1), Certainty.EXACT)


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n"])
def test_the_rest_of_a_stream_is_its_last_event(end: bytes) -> None:
    """It is counted, and not shown to who had not asked (case stream-without-a-last-blank-line)."""
    stripping = meter(OPENAI)
    usage = event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})
    assert stripping.feed(usage[:-2] + end) == b""
    assert stripping.end() == b""
    assert stripping.reading(True) == Reading(Usage(11, 7), Certainty.EXACT)


@pytest.mark.parametrize("choices", [b"null", b"[]", b"[ ]"])
def test_a_usage_event_is_dropped_however_it_writes_that_it_has_no_choice(choices: bytes) -> None:
    """Clients fall over `choices[0]` (case usage-event-with-null-choices)."""
    stripping = meter(OPENAI)
    assert stripping.feed(b'data: {"choices":%b,"usage":{"prompt_tokens":1}}\n\n' % choices) == b""


def test_an_event_full_of_members_of_that_name_is_looked_at_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work does not grow with the square of what a backend sends; such an event passes as it is."""
    looks = []

    def counting(data: bytes | None) -> dict | None:
        looks.append(data)
        return members_of(data)

    monkeypatch.setattr(stripping_module, "members_of", counting)
    nested = b"".join(b'{"a":0,"usage":{"x":{}}},' for _ in range(1000))
    odd = b'data: {"a":[' + nested + b'0], "usage":{"x":{}}, "z":0}\n\n'
    assert without_member(odd, "usage", b'{"x":{}}') == odd
    assert len(looks) == stripping_module.MAX_NESTED
