"""Options that say what a key may do."""

import click
import pytest
from click.testing import CliRunner

from llmgate.cli.permissions import CLEARED, DAY, changes_of, permission_options, shown
from llmgate.permissions import NOTHING_SAID

NOW = 1000.0


def test_what_is_not_given_is_not_changed() -> None:
    changes = changes_of(NOW, models=("small",), routes=(), priority=None)
    assert changes.permissions == {"models": ("small",)}
    assert changes.of(NOTHING_SAID.changed({"priority": 3})).priority == 3


def test_an_end_is_counted_from_now_and_stands_beside() -> None:
    changes = changes_of(NOW, expires_in_days=2, requests_per_minute=60)
    assert changes.beside == {"expires_at": NOW + 2 * DAY, "requests_per_minute": 60}
    assert changes.permissions == {}


def test_what_is_cleared_is_as_for_everybody_again() -> None:
    changes = changes_of(NOW, cleared=["models", "expiry"])
    assert changes.permissions == {"models": None}
    assert changes.beside == {"expires_at": None}
    assert changes.of(NOTHING_SAID.changed({"models": ["small"]})).models is None


def test_nothing_is_set_and_cleared_at_once() -> None:
    with pytest.raises(click.UsageError, match="--clear models: it is set on the same command line"):
        changes_of(NOW, cleared=["models"], models=("small",))


def test_a_command_has_every_option_under_the_name_that_changes_take() -> None:
    @click.command()
    @permission_options
    def command(**options: object) -> None:
        click.echo(" ".join(sorted(options)))

    printed = CliRunner().invoke(command, ["--model", "a", "--network", "10.0.0.0/8"]).output.split()
    assert {"models", "networks", "expires_in_days"} <= {*printed}
    assert {*CLEARED.values()} - {"expires_at"} <= {*printed}


def test_what_was_said_is_shown_as_one_would_write_it() -> None:
    row = shown(NOTHING_SAID.changed({"models": ["a", "b*"], "priority": 2}))
    assert (row["models"], row["priority"], row["routes"]) == ("a, b*", 2, None)
    assert set(shown(None).values()) == {None}
