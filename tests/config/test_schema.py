"""The types that gate.toml is read into."""

import pytest

from llmgate.config import Limit, Operation, Quota, Route
from llmgate.config.paths import PUBLIC_API


def test_a_route_is_called_by_its_path_unless_it_has_a_name() -> None:
    """So limits and metrics always have a name to go by."""
    assert Route(path="/v1", upstream="a").name == "/v1"
    assert Route(path="/v1", upstream="a", name="own").name == "own"


def test_settings_cannot_be_changed() -> None:
    """A gate in operation has the settings it was started with."""
    with pytest.raises(AttributeError):
        Limit(per="key", requests=1).requests = 2  # type: ignore[misc]


def test_what_is_counted_is_the_key_that_is_written() -> None:
    """Zero is an amount, not an absence."""
    assert Limit(per="key", tokens=100).unit == "tokens"
    assert Quota(per="user", requests=0).unit == "requests"


def test_what_is_let_through_by_default_is_the_public_api() -> None:
    """Nothing that a backend leaves open beside it: no tokenizer, metrics, adapters, shutdown."""
    assert Operation("POST", "/chat/completions") in PUBLIC_API
    beside = ("tokenize", "metrics", "lora", "sleep", "invocations", "*")
    assert not [operation for operation in PUBLIC_API if any(word in str(operation) for word in beside)]
