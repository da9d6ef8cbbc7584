"""What a silence costs, where nobody says what it was."""

import json

import pytest

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, parse_request
from llmgate.usage.hidden import PAUSE_S, Silence, with_hidden, with_unseen
from llmgate.usage.model import Certainty, Reading, Usage

READING = Reading(Usage(11, 4), Certainty.PARTIAL)


def asked(**fields: object) -> ModelRequest:
    body = {"model": "m", "messages": [], "stream": True, **fields}
    return parse_request(Endpoint.CHAT, json.dumps(body).encode())


def test_pauses_between_words_are_none_and_those_for_thought_add_up() -> None:
    silence = Silence(100.0)
    silence.note(1, 105.0)
    for step in range(1, 20):
        silence.note(1 + step, 105.0 + step * PAUSE_S / 2)
    assert silence.seconds(115.0) == 5.0
    silence.note(21, 124.5)
    assert silence.seconds(125.0) == 15.0


def test_events_without_text_do_not_end_a_silence() -> None:
    silence = Silence(0.0)
    for now in range(1, 10):
        silence.note(0, float(now))
    assert silence.seconds(10.0) == 10.0


@pytest.mark.parametrize(
    ("fields", "seconds", "output"),
    [
        ({}, 3.0, 304),
        ({}, 0.0, 4),
        ({"max_completion_tokens": 50}, 3.0, 50),
        ({"max_completion_tokens": 50, "n": 2}, 3.0, 100),
        ({"max_completion_tokens": 3}, 3.0, 4),
    ],
)
def test_thoughts_count_by_the_second_within_the_limit(
    fields: dict[str, object], seconds: float, output: int
) -> None:
    found = with_hidden(DIALECTS["openai"], asked(**fields), READING, seconds)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (11, output)
    assert found.usage.reasoning_tokens == output - 4
    assert found.certainty is (Certainty.ESTIMATED if output > 4 else Certainty.PARTIAL)


@pytest.mark.parametrize("dialect", ["vllm", "llama_server", "llama_cpp_python", "ollama"])
def test_backends_that_show_their_thoughts_are_believed(dialect: str) -> None:
    assert with_hidden(DIALECTS[dialect], asked(), READING, 60.0) is READING


@pytest.mark.parametrize(
    ("fields", "seconds", "output"),
    [
        ({}, 3.0, 3000),
        ({}, 0.002, 4),
        ({"max_tokens": 50}, 3.0, 50),
        ({"max_tokens": 50, "n": 2}, 3.0, 100),
        ({"n": 2}, 3.0, 6000),
    ],
)
def test_a_plain_answer_that_never_came_counts_by_the_second_within_the_limit(
    fields: dict[str, object], seconds: float, output: int
) -> None:
    found = with_unseen(DIALECTS["vllm"], asked(**fields), READING, seconds)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (11, output)


def test_who_waits_for_embeddings_waits_for_no_text() -> None:
    request = parse_request(Endpoint.EMBEDDINGS, b'{"model":"m","input":"a"}')
    assert with_unseen(DIALECTS["vllm"], request, READING, 60.0) is READING
