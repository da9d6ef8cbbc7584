from typing import Any

from cli.conftest import Cli


def test_organizations_are_added_and_listed(llmgate: Cli) -> None:
    """A name can be taken once."""
    assert "llmgate org add" in llmgate("org", "list").stdout
    llmgate("org", "add", "Acme")
    assert [found["name"] for found in llmgate.json("org", "list")] == ["Acme"]
    assert llmgate("org", "add", "Acme", code=1).stderr == "The name is taken.\n"


def test_members_are_added_listed_and_removed(llmgate: Cli, bob: Any) -> None:
    """Adding a member again gives another role."""
    llmgate("org", "add", "Acme")
    assert "llmgate org member add Acme" in llmgate("org", "member", "list", "Acme").stdout
    llmgate("org", "member", "add", "Acme", "bob")
    assert llmgate.json("org", "member", "add", "Acme", "bob", "--role", "admin")["role"] == "admin"
    expected = [{"user_id": bob["id"], "username": "bob", "role": "admin"}]
    assert llmgate.json("org", "member", "list", "Acme") == expected
    assert llmgate.json("user", "show", "bob")["organizations"] == ["Acme"]
    llmgate("org", "member", "remove", "Acme", "bob")
    assert llmgate.json("org", "member", "list", "Acme") == []
    assert llmgate("org", "member", "remove", "Acme", "bob", code=1).stderr == "There is no such member.\n"


def test_an_organization_that_is_not_there_is_refused(llmgate: Cli, bob: Any) -> None:
    """With the command that lists those that are."""
    expected = 'There is no organization "Nil": `llmgate org list` shows them all.\n'
    assert llmgate("org", "member", "add", "Nil", "bob", code=1).stderr == expected


def test_what_all_keys_of_an_organization_may_do_is_changed_by_name(llmgate: Cli) -> None:
    """What is not named stays."""
    llmgate("org", "add", "Acme")
    said = ("--route", "/v1", "--tokens-per-minute", "1000", "--requests-per-minute", "5", "--weight", "3")
    first = llmgate.json("org", "update", "Acme", *said)
    assert (first["routes"], first["tokens_per_minute"], first["requests_per_minute"]) == ("/v1", 1000, 5)
    second = llmgate.json("org", "update", "Acme", "--clear", "routes", "--expires-in-days", "2")
    assert (second["routes"], second["weight"]) == (None, 3.0)
    assert second["expires_at"] is not None
    assert "tokens_per_minute" in llmgate("org", "update", "Acme", "--tokens-per-minute", "-1", code=1).stderr
    assert "llmgate org list" in llmgate("org", "update", "Nobody", "--weight", "1", code=1).stderr
