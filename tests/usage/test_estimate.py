"""What nobody has counted is estimated from what has passed."""

import json

import pytest

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.usage.estimate import OPAQUE_TOKENS, believed, estimate, weigh
from llmgate.usage.model import Usage
from llmgate.usage.report import Report

from .streams import ask_for


@pytest.mark.parametrize(
    ("fields", "text", "chunks", "expected"),
    [
        ({"max_tokens": 10}, 100, 1, 10),  # 25 by the rule, and 10 long words are 100 bytes
        ({"max_tokens": 10}, 20, 1, 5),
        ({"max_tokens": 10, "n": 2}, 100, 2, 20),
        ({"max_tokens": 10}, 100, 30, 30),  # each piece is a token: the limit was not kept
        ({"max_tokens": 1}, 36_000, 1, 9_000),  # nor was this one
        ({"max_tokens": 1, "max_completion_tokens": 50}, 100, 1, 25),
        ({"max_tokens": -1}, 100, 1, 25),
        ({"max_tokens": 0}, 100, 1, 25),
        ({}, 100, 1, 25),
    ],
)
def test_an_estimate_keeps_to_the_requests_limit_unless_the_text_proves_otherwise(
    fields: dict[str, object], text: int, chunks: int, expected: int
) -> None:
    """Nobody is charged over what a backend may have made, and nobody pays a limit for what passed it."""
    usage = estimate(ask_for(Endpoint.CHAT, **fields), text, finished=False, chunks=chunks)
    assert usage.output_tokens == expected


def test_an_image_is_estimated_by_number_and_not_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 200_000}}
    body = json.dumps({"messages": [{"role": "user", "content": [image]}]}).encode()
    usage = estimate(parse_request(Endpoint.CHAT, body), 0, finished=True)
    assert OPAQUE_TOKENS < usage.input_tokens < OPAQUE_TOKENS + 100


@pytest.mark.parametrize(
    ("report", "silent", "expected"),
    [
        (Report(3, 2), False, (Usage(3, 2), True)),
        (Report(3, 0), False, (Usage(3, 0), True)),
        (Report(3, None), False, (Usage(3, 7), False)),
        (Report(None, 2), False, (Usage(5, 2), False)),
        (Report(3, None), True, (Usage(3, 0), True)),
    ],
)
def test_a_report_is_completed_by_the_estimate(
    report: Report, silent: bool, expected: tuple[Usage, bool]
) -> None:
    """Zero is not missing; what is missing is no zero, save where nothing is generated."""
    assert weigh(report, Usage(5, 7), silent=silent) == expected


@pytest.mark.parametrize(
    ("told", "text", "left"),
    [
        (Report(0, 0), 40, Report(None, None)),  # a placeholder in place of the count
        (Report(9, 0), 40, Report(9, None)),
        (Report(9, 1), 4_000, Report(9, None)),  # each chunk's own count, the last one of them
        (Report(9, 1), 200, Report(9, 1)),  # a line of dashes is one token
        (Report(0, 5), 40, Report(None, 5)),  # a template alone has more
        (Report(0, 0), 0, Report(0, 0)),
        (Report(50, 0, undivided=True), 40, Report(9, 41, undivided=True, guessed=True)),
    ],
)
def test_a_report_that_the_text_proves_wrong_is_not_believed(told: Report, text: int, left: Report) -> None:
    request = parse_request(Endpoint.CHAT, b'{"messages":[{"role":"user"}]}     ')
    assert request.prompt_bound == 35
    assert believed(told, request, text, finished=True) == left


def test_zeros_are_a_placeholder_until_the_answer_has_finished() -> None:
    request = ask_for(Endpoint.RESPONSES)
    assert believed(Report(0, 0), request, 0, finished=False) == Report(None, 0)


def test_an_echo_is_no_generated_text() -> None:
    """Nor have embeddings any; but something to read they have (Ollama's once counted 0)."""
    echoing = ask_for(Endpoint.COMPLETIONS, prompt="a b c", echo=True)
    assert believed(Report(3, 0), echoing, 5, finished=True) == Report(3, 0)
    assert believed(Report(3, 0), ask_for(Endpoint.EMBEDDINGS), 5, finished=True) == Report(3, 0)
    assert believed(Report(0, None), ask_for(Endpoint.EMBEDDINGS), 0, finished=True) == Report(None, None)
