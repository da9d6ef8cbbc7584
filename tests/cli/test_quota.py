from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Cli


def test_a_quota_is_set_shown_and_set_anew(llmgate: Cli, bob: Any) -> None:
    """The same unit, window, upstream and model is the same quota."""
    first = llmgate.json(
        "quota", "set", "--user", "bob", "--tokens", "500", "--window", "day", "--overdraft", "7"
    )
    assert (first["unit"], first["limit"], first["remaining"], first["overdraft"]) == ("tokens", 500, 500, 7)
    again = llmgate.json("quota", "set", "--user", "bob", "--tokens", "900", "--window", "day")
    assert (again["id"], again["limit"]) == (first["id"], 900)
    assert again in llmgate.json("quota", "show", "--user", "bob")


def test_money_is_in_the_operators_currency(llmgate: Cli, bob: Any) -> None:
    """The ledger counts millionths; nobody has to."""
    row = llmgate.json("quota", "set", "--user", "bob", "--money", "2.5", "--window", "month")
    assert (row["unit"], row["limit"], row["remaining"]) == ("money", 2.5, 2.5)


def test_what_gate_toml_gives_to_everybody_is_shown_without_an_id(llmgate: Cli, bob: Any) -> None:
    """Nothing of it is in the store that could be reset or removed."""
    [row] = llmgate.json("quota", "show", "--user", "bob")
    assert (row["id"], row["unit"], row["limit"], row["window"]) == (None, "tokens", 1000, "month")


def test_keys_and_organizations_have_quotas_of_their_own(llmgate: Cli, bob: Any) -> None:
    """Each is shown for its subject alone."""
    llmgate("org", "add", "Acme")
    key = llmgate.json("key", "create", "bob", "--name", "laptop")
    assert "nothing is limited" in llmgate("quota", "show", "--key", str(key["id"])).stdout
    llmgate("quota", "set", "--key", str(key["id"]), "--requests", "3")
    llmgate("quota", "set", "--organization", "Acme", "--tokens", "0", "--upstream", "local", "--model", "m")
    [of_key] = llmgate.json("quota", "show", "--key", str(key["id"]))
    [of_organization] = llmgate.json("quota", "show", "--organization", "Acme")
    assert (of_key["unit"], of_key["limit"], of_key["resets_at"]) == ("requests", 3, None)
    assert (of_organization["limit"], of_organization["upstream"], of_organization["model"]) == (
        0,
        "local",
        "m",
    )


def test_a_quota_is_reset_and_removed_by_its_id(llmgate: Cli, bob: Any) -> None:
    """Removed, gate.toml's own holds again; an id that is not there is refused."""
    quota_id = str(llmgate.json("quota", "set", "--user", "bob", "--tokens", "5", "--window", "month")["id"])
    assert llmgate("quota", "reset", quota_id).stdout == f"Quota {quota_id} starts from zero now.\n"
    assert llmgate("quota", "remove", quota_id).stdout == f"Removed quota {quota_id}.\n"
    assert [row["limit"] for row in llmgate.json("quota", "show", "--user", "bob")] == [1000]
    for command in ("reset", "remove"):
        expected = "There is no quota 99: `llmgate quota show` shows them all.\n"
        assert llmgate("quota", command, "99", code=1).stderr == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tokens", "5"), "exactly one of --user, --key, --organization"),
        (("--user", "bob", "--key", "1", "--tokens", "5"), "exactly one of --user, --key, --organization"),
        (("--user", "bob"), "exactly one of --tokens, --requests, --money"),
        (
            ("--user", "bob", "--tokens", "5", "--requests", "5"),
            "exactly one of --tokens, --requests, --money",
        ),
        (("--user", "bob", "--tokens", "-1"), "--tokens"),
        (("--user", "bob", "--tokens", "5", "--window", "week"), "--window"),
        (
            ("--user", "bob", "--tokens", "5", "--upstream", "x"),
            'gate.toml has no upstream "x" (known: local)',
        ),
    ],
)
def test_a_quota_that_makes_no_sense_is_a_usage_error(
    options: tuple[str, ...], said: str, llmgate: Cli, bob: Any
) -> None:
    """Exit code 2, and nothing is set."""
    assert said in llmgate("quota", "set", *options, code=2).stderr
    assert [row["id"] for row in llmgate.json("quota", "show", "--user", "bob")] == [None]


def test_a_subject_that_is_not_there_is_refused(llmgate: Cli, migrated: Path) -> None:
    """Exit code 1: the command was right, the store has no such thing."""
    for option, name in (("--user", "zoe"), ("--key", "9"), ("--organization", "Nil")):
        assert "There is no" in llmgate("quota", "show", option, name, code=1).stderr


def test_money_without_a_price_is_warned_of(llmgate: Cli, bob: Any, migrated: Path) -> None:
    """It would never be spent; `check` says so, too, of what stands in the store."""
    words = ("quota", "set", "--user", "bob", "--money", "5")
    assert "warning: gate.toml has no prices" in llmgate(*words).stderr
    assert any("money by `llmgate quota`" in line for line in llmgate.json("check")["warnings"])
    with (migrated / "gate.toml").open("a") as file:
        file.write("[prices.small]\ninput = 1\noutput = 1\n")
    assert 'no price of "large"' in llmgate(*words, "--model", "large").stderr
    assert llmgate(*words, "--model", "small").stderr == ""
    assert llmgate.json("check")["warnings"] == []
