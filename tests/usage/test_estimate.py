"""What nobody has counted is estimated from what has passed."""

import json

import pytest

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.usage.estimate import OPAQUE_TOKENS, estimate, weigh
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
