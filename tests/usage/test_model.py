"""The words of token accounting."""

import json

import msgspec

from llmgate.usage.model import Certainty, Reading, Usage


def test_a_quota_of_tokens_is_charged_input_and_output() -> None:
    """Cached and reasoning tokens are parts of them."""
    assert Usage(5, 7, cached_tokens=5, reasoning_tokens=7).total == 12


def test_a_certainty_is_its_word() -> None:
    """In records, metrics and JSON; it can be a key next to strings."""
    assert {Certainty.EXACT: 1}["exact"] == 1
    reading = json.loads(msgspec.json.encode(Reading(Usage(1, 2), Certainty.PARTIAL)))
    assert reading["certainty"] == "partial"
