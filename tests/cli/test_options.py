import datetime as dt
import time

import click
import pytest

from cli.conftest import Cli
from llmgate.cli.options import Moment, only


def _moment(text: str) -> float:
    return Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:30", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31T12:30+02:00", "2026-01-31T10:30:00+00:00"),
        ("2026-01-31T12:30:05Z", "2026-01-31T12:30:05+00:00"),
    ],
)
def test_a_date_is_its_midnight_and_utc_where_it_says_nothing_else(text: str, moment: str) -> None:
    """As the ledger's days and windows."""
    assert _moment(text) == dt.datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_a_span_counts_back_from_now(text: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """7d is seven days ago."""
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    assert _moment(text) == 2_000_000_000 - seconds


@pytest.mark.parametrize("text", ["", "7", "7y", "-7d", "2026-02-30", "yesterday", "9999999d"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(click.BadParameter, match="write 2026-01-31"):
        _moment(text)


def test_exactly_one_of_several_options_is_taken() -> None:
    """Zero is a value like any other."""
    assert only(tokens=None, requests=0) == ("requests", 0)
    for given in ({"tokens": None, "requests": None}, {"tokens": 1, "requests": 0}):
        with pytest.raises(click.UsageError, match="exactly one of --tokens, --requests"):
            only(**given)


def test_a_password_is_never_taken_without_saying_where_from(llmgate: Cli) -> None:
    """Without a terminal nobody can be asked; the error names the ways."""
    assert "--password-stdin or --no-password" in llmgate("user", "add", "bob", code=2).stderr
    both = ("user", "add", "bob", "--password-stdin", "--no-password")
    assert "exclude each other" in llmgate(*both, code=2).stderr


def test_a_password_is_asked_for_twice_and_not_echoed(llmgate: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal it is typed, hidden, and confirmed."""
    monkeypatch.setattr("llmgate.cli.options._at_terminal", lambda: True)
    result = llmgate("user", "add", "bob", stdin="correct horse\ncorrect horse\n")
    assert "Password:" in result.output and "correct horse" not in result.output
    assert "Added bob" in result.stdout
