import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Cli
from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.store.schema import usage

DAY = 86_400
NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC


@pytest.fixture
def recorded(llmgate: Cli, migrated: Path, bob: Any) -> None:
    """Three requests of bob's with key 1, and one of nobody's on the day before."""
    llmgate("key", "create", "bob", "--name", "laptop", "--quiet")
    rows = [
        _record("a", NOON, user_id=1, key_id=1, input_tokens=10, output_tokens=5, cost=1_500_000),
        _record("b", NOON + 1, user_id=1, key_id=1, input_tokens=20, output_tokens=5, cost=250_000),
        _record("c", NOON + 2, user_id=1, key_id=1, model="large", input_tokens=1, certainty="estimated"),
        _record("d", NOON - DAY, input_tokens=100),
    ]

    async def insert() -> None:
        async with administer(load(migrated / "gate.toml")) as gate, gate.store.begin() as db:
            await db.execute(usage.insert(), rows)

    asyncio.run(insert())


def _record(request_id: str, at: float, **values: Any) -> dict[str, Any]:
    record = {
        "request_id": request_id,
        "at": at,
        "user_id": None,
        "key_id": None,
        "route": "/v1",
        "upstream": "local",
        "model": "small",
        "endpoint": "chat",
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost": 0,
        "certainty": "exact",
        "outcome": "finished",
        "status": 200,
        "duration": 0.25,
    }
    return record | values


def test_an_empty_ledger_says_so(llmgate: Cli) -> None:
    """Programs get zeros, people a sentence."""
    assert llmgate("usage").stdout == "No usage yet.\n"
    zeros = {
        "requests": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "tokens": 0,
        "cost": 0.0,
        "engine_seconds": 0.0,
    }
    assert llmgate.json("usage") == zeros
    assert llmgate.json("usage", "--by", "user") == llmgate.json("usage", "--records", "5") == []


def test_the_total_is_the_sum_of_all_records(llmgate: Cli, recorded: None) -> None:
    """Money in the operator's currency."""
    total = {
        "requests": 4,
        "input_tokens": 131,
        "output_tokens": 10,
        "tokens": 141,
        "cost": 1.75,
        "engine_seconds": 0.0,
    }
    assert llmgate.json("usage") == total
    assert llmgate("usage").stdout.split()[-6:] == ["4", "131", "10", "141", "1.75", "0"]


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        (("--user", "bob"), 3),
        (("--key", "1"), 3),
        (("--model", "large"), 1),
        (("--upstream", "local"), 4),
        (("--since", "2027-01-15"), 3),
        (("--until", "2027-01-15"), 1),
        (("--since", "2027-01-15T12:00:01", "--until", "2027-01-15T12:00:02"), 1),
        (("--user", "bob", "--model", "small"), 2),
    ],
)
def test_filters_hold_together(options: tuple[str, ...], requests: int, llmgate: Cli, recorded: None) -> None:
    """Only records that match every one; `since` is inclusive, `until` is not."""
    assert llmgate.json("usage", *options)["requests"] == requests


@pytest.mark.parametrize(
    ("by", "tokens"),
    [
        ("user", {None: 100, "bob": 41}),
        ("key", {None: 100, 1: 41}),
        ("organization", {None: 141}),
        ("model", {"small": 140, "large": 1}),
        ("upstream", {"local": 141}),
        ("route", {"/v1": 141}),
        ("endpoint", {"chat": 141}),
        ("certainty", {"exact": 140, "estimated": 1}),
        ("day", {"2027-01-15": 41, "2027-01-14": 100}),
    ],
)
def test_groups_have_a_line_for_each_value(
    by: str, tokens: dict[Any, int], llmgate: Cli, recorded: None
) -> None:
    """Users by name; requests that nobody was known for are a group as well. In the order of the ledger."""
    groups = [(group[by], group["tokens"]) for group in llmgate.json("usage", "--by", by)]
    assert groups == list(tokens.items())
    assert len(llmgate("usage", "--by", by).stdout.splitlines()) == 1 + len(tokens)


def test_records_are_the_latest_first(llmgate: Cli, recorded: None) -> None:
    """As many as asked for, with how each ended and how sure its count is."""
    latest, before = llmgate.json("usage", "--records", "2")
    assert (latest["request_id"], before["request_id"]) == ("c", "b")
    assert (latest["user"], latest["at"], latest["certainty"]) == ("bob", "2027-01-15T12:00:02Z", "estimated")
    assert "estimated" in llmgate("usage", "--records", "2").stdout


def test_names_that_are_not_there_and_options_that_fight_are_refused(llmgate: Cli) -> None:
    """A typo in a name is no empty report."""
    assert "There is no user" in llmgate("usage", "--user", "zoe", code=1).stderr
    assert "There is no key" in llmgate("usage", "--key", "9", code=1).stderr
    assert "exclude each other" in llmgate("usage", "--by", "day", "--records", "5", code=2).stderr


def test_usage_is_shown_by_end_user_and_by_what_was_asked_for(llmgate: Cli, migrated: Path) -> None:
    """With the seconds that engines have worked."""
    rows = [
        _record("e", NOON, asked_model="chat", end_user="ada", engine_seconds=1.5),
        _record("f", NOON + 1, asked_model="chat", end_user="bob", engine_seconds=0.25),
        _record("g", NOON + 2, asked_model="code", end_user="ada", engine_seconds=None),
    ]

    async def insert() -> None:
        async with administer(load(migrated / "gate.toml")) as gate, gate.store.begin() as db:
            await db.execute(usage.insert(), rows)

    asyncio.run(insert())
    by_model = {row["asked_model"]: row for row in llmgate.json("usage", "--by", "asked_model")}
    assert {name: row["engine_seconds"] for name, row in by_model.items()} == {"chat": 1.75, "code": 0.0}
    by_user = {row["end_user"]: row["requests"] for row in llmgate.json("usage", "--by", "end_user")}
    assert by_user == {"ada": 2, "bob": 1}
    assert llmgate.json("usage", "--end-user", "ada", "--asked-model", "chat")["requests"] == 1
    assert llmgate.json("usage", "--by", "model")[0]["engine_seconds"] == 1.75
