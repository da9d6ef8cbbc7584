"""What an answer reports adds up, and what it does not report is estimated from what has passed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint
from llmgate.usage.model import Certainty, Reading, Usage

from .streams import LLAMA, OPENAI, chunk, event, meter


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


def message_start(**usage: int) -> bytes:
    return event({"type": "message_start", "message": {"model": "m", "usage": usage}})


def text_delta(text: str) -> bytes:
    return event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}})


def test_a_messages_stream_left_early_is_charged_what_passed() -> None:
    """Its start has a placeholder for the output, and nothing counts before the end (vLLM: 970 deltas for 0)."""
    cut = meter(endpoint=Endpoint.MESSAGES)
    cut.feed(message_start(input_tokens=17, output_tokens=1))
    for _ in range(970):
        cut.feed(text_delta("a"))
    assert cut.reading(False) == Reading(Usage(17, 970), Certainty.ESTIMATED)


def test_a_later_zero_takes_nothing_back() -> None:
    """Some report only the output at the end (case message-delta-with-zero-input)."""
    whole = meter(endpoint=Endpoint.MESSAGES)
    whole.feed(message_start(input_tokens=25, cache_read_input_tokens=100, output_tokens=1))
    end = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 15}
    whole.feed(text_delta("hello") + event({"type": "message_delta", "usage": end}))
    assert whole.reading(True) == Reading(Usage(125, 15, 100), Certainty.EXACT)


def test_a_chunk_is_a_token_at_least() -> None:
    """Letters, digits and scripts whose tokens are shorter than four bytes."""
    cut = meter(OPENAI)
    for _ in range(100):
        cut.feed(event({"choices": [{"index": 0, "delta": {"content": "1"}}]}))
    cut.feed(event({"choices": [{"index": 0, "delta": {"content": "a word of twenty by"}}]}))
    reading = cut.reading(False)
    assert reading is not None
    assert reading.usage.output_tokens == 101


def test_llama_cpp_counts_while_it_streams() -> None:
    """Asked for timings, a stream left early has the backend's own count."""
    cut = meter(LLAMA)
    for made in range(1, 4):
        timings = {"cache_n": 31, "prompt_n": 1, "predicted_n": made}
        cut.feed(
            event(
                {
                    "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
                    "timings": timings,
                }
            )
        )
    assert cut.reading(False) == Reading(Usage(32, 3, 31), Certainty.PARTIAL)
    assert cut.reading(True) == Reading(Usage(32, 3, 31), Certainty.PARTIAL)


def test_usage_in_every_chunk_is_good_for_the_text_before_it_only() -> None:
    """xAI's way; a chunk after the last report makes an estimate of it."""
    running = meter(DIALECTS["generic"])
    running.feed(event(chunk(0, "a", 1)))
    running.feed(event(chunk(0, "b", 2)))
    assert running.reading(True) == Reading(Usage(7, 2), Certainty.EXACT)
    for _ in range(5):
        running.feed(event({"choices": [{"index": 0, "delta": {"content": "c"}}]}))
    assert running.reading(True) == Reading(Usage(7, 7), Certainty.ESTIMATED)


@pytest.mark.parametrize("choices", [None, [], "nothing"])
def test_usage_without_a_choice_is_the_final_one_however_it_is_written(choices: object) -> None:
    ended = meter()
    ended.feed(event(chunk(0, "a", 1)))
    last = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    ended.feed(event(last if choices == "nothing" else {**last, "choices": choices}))
    assert ended.reading(True) == Reading(Usage(7, 2), Certainty.EXACT)


def test_transcripts_are_read_in_both_their_forms() -> None:
    """OpenAI's events have types, vLLM's chunks choices."""
    typed = meter(OPENAI, Endpoint.AUDIO)
    typed.feed(event({"type": "transcript.text.delta", "delta": "hello"}))
    done = {"type": "transcript.text.done", "usage": {"input_tokens": 14, "output_tokens": 2}}
    typed.feed(event(done))
    assert typed.reading(True) == Reading(Usage(14, 2), Certainty.EXACT)
    chunks = meter(OPENAI, Endpoint.AUDIO)
    chunks.feed(event({"choices": [{"delta": {"content": "hello"}}]}))
    chunks.feed(event({"choices": [], "usage": {"prompt_tokens": 14, "completion_tokens": 2}}))
    assert chunks.reading(True) == Reading(Usage(14, 2), Certainty.EXACT)


NUMBERS = st.integers(-5, 50) | st.floats(0, 20) | st.none() | st.just([])
USAGES = st.none() | st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"]),
    NUMBERS,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "usage": USAGES,
        "choices": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(0, 2)},
                optional={
                    "delta": st.none() | st.fixed_dictionaries({"content": st.text(max_size=9)}),
                    "finish_reason": st.sampled_from([None, "stop"]),
                    "usage": USAGES,
                },
            ),
            max_size=2,
        ),
        "delta": st.text(max_size=9),
        "type": st.sampled_from(["message_start", "message_delta", "error"]),
        "message": st.fixed_dictionaries({"usage": USAGES}),
        "error": st.none() | st.just({"message": "no"}),
    },
)


@given(
    st.sampled_from(sorted(DIALECTS)),
    st.sampled_from(list(Endpoint)[:-1]),
    st.lists(EVENTS, max_size=6),
    st.booleans(),
    st.integers(1, 3),
)
def test_no_stream_breaks_it_and_none_is_exact_without_its_numbers(
    dialect: str, endpoint: Endpoint, events: list[dict], finished: bool, choices: int
) -> None:
    """Whatever comes: a reading; EXACT only if it finished, without an error, and with numbers for it."""
    choices = 1 if endpoint is Endpoint.RESPONSES else choices
    reader = meter(DIALECTS[dialect], endpoint, n=choices)
    for fields in events:
        reader.feed(event(fields))
    reading = reader.reading(finished)
    assert reading is not None
    assert reading.usage.input_tokens >= 0
    assert reading.usage.output_tokens >= 0
    assert reading.usage.cached_tokens <= reading.usage.input_tokens
    if reading.certainty is Certainty.EXACT:
        assert finished
        assert not reader.failed
        assert any("tokens" in json.dumps(fields) for fields in events)


def test_a_count_for_each_choice_is_not_taken_for_that_of_all() -> None:
    """llama.cpp's server, taken for another: one event for each choice, where one for all is expected."""
    ended = meter(OPENAI, n=2)
    for made in (20, 30):
        ended.feed(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": made}}))
    assert ended.reading(True) == Reading(Usage(7, 50), Certainty.ESTIMATED)


def test_the_count_of_a_choice_is_not_that_of_all() -> None:
    """Moonshot's last chunks; vLLM's, taken for another, where a client asked for the counts itself."""
    cut = meter(OPENAI, n=3)
    for index in (0, 1, 2):
        usage = {"prompt_tokens": 7, "completion_tokens": 20}
        cut.feed(event({"choices": [{"index": index, "delta": {"content": "a"}, "usage": usage}]}))
        cut.feed(event(chunk(index, "a", 30)))
    assert cut.awaits_usage
    assert cut.reading(False) == Reading(Usage(7, 90), Certainty.PARTIAL)
    assert cut.reading(True) == Reading(Usage(7, 90), Certainty.PARTIAL)
    cut.feed(event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 99}}))
    assert cut.reading(True) == Reading(Usage(7, 99), Certainty.EXACT)


PLACEHOLDERS = st.fixed_dictionaries(
    {"prompt_tokens": st.sampled_from([0, 7]), "completion_tokens": st.integers(0, 3)}
) | st.fixed_dictionaries({"input_tokens": st.sampled_from([0, 7]), "output_tokens": st.integers(0, 3)})
PIECES = st.builds(
    lambda shape, text, usage: shape(text, usage),
    st.sampled_from(
        [
            lambda text, _: {"choices": [{"index": 0, "delta": {"content": text}}]},
            lambda text, usage: {"choices": [{"index": 0, "delta": {"content": text}}], "usage": usage},
            lambda text, _: {"choices": [{"index": 0, "delta": {"nobody_knows": text}}]},
            lambda _, usage: {"choices": [], "usage": usage},
            lambda text, _: {"type": "response.output_text.delta", "delta": text},
            lambda text, _: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
            lambda _, usage: {"type": "message_start", "message": {"usage": usage}},
            lambda _, usage: {"type": "message_delta", "delta": {}, "usage": usage},
            lambda _, usage: {"type": "response.created", "response": {"usage": usage}},
        ]
    ),
    st.sampled_from(["word ", "word " * 100]),
    PLACEHOLDERS,
)


@given(
    st.sampled_from(["openai", "generic", "ollama", "llama_cpp_python"]),
    st.sampled_from([Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES]),
    st.lists(PIECES, max_size=8),
    st.booleans(),
)
def test_text_is_never_free(dialect: str, endpoint: Endpoint, pieces: list[dict], finished: bool) -> None:
    """Whatever a backend says of it, and wherever: placeholders first or last, counts of single chunks."""
    reader = meter(DIALECTS[dialect], endpoint, messages=[{"role": "user", "content": "hello"}])
    for piece in pieces:
        reader.feed(event(piece))
    reader.end()
    reading = reader.reading(finished)
    assert reading is not None
    said = [str(piece) for piece in pieces if "word" in str(piece)]
    if said:
        assert reading.usage.output_tokens >= 1
        assert reading.usage.input_tokens >= 1
    long = sum("word word" in text and "nobody_knows" not in text for text in said)
    if reading.certainty is Certainty.EXACT:
        assert reading.usage.output_tokens >= 500 * long // 128
