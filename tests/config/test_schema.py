"""The types that gate.toml is read into."""

import pytest

from llmgate.config import Limit, Operation, PluginTable, Quota, Route
from llmgate.config.paths import PUBLIC_API
from llmgate.config.schema import WINDOWS


def test_a_route_is_called_by_its_path_unless_it_has_a_name() -> None:
    """So limits and metrics always have a name to go by."""
    assert Route(path="/v1", upstream="a").name == "/v1"  # type: ignore[arg-type]
    assert Route(path="/v1", upstream="a", name="own").name == "own"  # type: ignore[arg-type]


def test_settings_cannot_be_changed() -> None:
    """A gate in operation has the settings it was started with."""
    with pytest.raises(AttributeError):
        Limit(per="key", requests=1).requests = 2  # type: ignore[misc]


def test_a_limit_says_what_it_counts_and_for_how_long() -> None:
    """Named windows and seconds come out alike."""
    limit = Limit(per="key", tokens=100, window="hour")
    assert (limit.unit, limit.amount, limit.seconds) == ("tokens", 100, 3600)
    assert Limit(per="key", requests=1, window=90).seconds == 90
    assert set(WINDOWS) == {"second", "minute", "hour", "day"}


def test_a_quota_of_nothing_is_a_quota() -> None:
    """Zero is an amount, not an absence."""
    quota = Quota(per="user", requests=0)
    assert (quota.unit, quota.amount) == ("requests", 0)


def test_what_is_let_through_by_default_is_the_public_api() -> None:
    """Nothing that a backend leaves open beside it: no tokenizer, metrics, adapters, shutdown."""
    assert Operation("POST", "/chat/completions") in PUBLIC_API
    beside = ("tokenize", "metrics", "lora", "sleep", "invocations", "*")
    assert not [operation for operation in PUBLIC_API if any(word in str(operation) for word in beside)]


def test_a_plugins_settings_are_not_shown() -> None:
    """There may be a secret among them that only the plugin knows to be one."""
    assert (
        repr(PluginTable(settings={"key": "geheim"}))
        == "PluginTable(prefix='', listen=None, settings=['key'])"
    )
