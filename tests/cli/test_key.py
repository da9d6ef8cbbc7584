import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Cli
from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.errors import Unauthenticated
from llmgate.exchange import Principal


def _verify(folder: Path, secret: str) -> Principal:
    async def verify() -> Principal:
        async with administer(load(folder / "gate.toml")) as gate:
            return await gate.identity.keys.verify(secret)

    return asyncio.run(verify())


def test_quiet_prints_the_key_alone_and_the_key_works(llmgate: Cli, migrated: Path, bob: Any) -> None:
    """KEY=$(llmgate key create ... --quiet) is all that a script needs."""
    result = llmgate("key", "create", "bob", "--name", "laptop", "--quiet")
    assert result.stderr == "" and result.stdout.startswith("llmgate_")
    assert _verify(migrated, result.stdout.strip()).user_id == bob["id"]


def test_the_secret_is_shown_when_the_key_is_made_and_never_again(llmgate: Cli, bob: Any) -> None:
    """People are told to keep it; listings show its beginning and end."""
    result = llmgate("key", "create", "bob", "--name", "laptop", "--prefix", "sk-")
    secret = result.stdout.strip()
    assert "Key 1 of bob. Keep it" in result.stderr
    listed = llmgate("key", "list").stdout + llmgate("key", "list", "--json").stdout
    assert secret not in listed and f"sk-...{secret[-4:]}" in listed


def test_json_has_the_secret_once(llmgate: Cli, bob: Any) -> None:
    """Programs get everything about a new key in one object."""
    key = llmgate.json("key", "create", "bob", "--name", "laptop", "--expires-in-days", "30")
    assert key["secret"].startswith("llmgate_") and (key["user"], key["name"]) == ("bob", "laptop")
    lifetime = dt.datetime.fromisoformat(key["expires_at"]) - dt.datetime.fromisoformat(key["created_at"])
    assert lifetime == dt.timedelta(days=30)
    [listed] = llmgate.json("key", "list")
    assert {**listed, "secret": key["secret"]} == key


def test_a_key_of_an_organization_needs_membership(llmgate: Cli, bob: Any) -> None:
    """Such a key spends the organization's quotas."""
    llmgate("org", "add", "Acme")
    create = ("key", "create", "bob", "--name", "work", "--organization", "Acme")
    assert "not in this organization" in llmgate(*create, code=1).stderr
    llmgate("org", "member", "add", "Acme", "bob")
    assert llmgate.json(*create)["organization"] == "Acme"


def test_keys_are_listed_by_user_and_organization(llmgate: Cli, bob: Any) -> None:
    """Without a filter, all of them."""
    assert "llmgate key create" in llmgate("key", "list").stdout
    llmgate("user", "add", "ada", "--no-password")
    llmgate("org", "add", "Acme")
    llmgate("org", "member", "add", "Acme", "bob")
    llmgate("key", "create", "ada", "--name", "a", "--quiet")
    llmgate("key", "create", "bob", "--name", "b", "--quiet")
    llmgate("key", "create", "bob", "--name", "c", "--organization", "Acme", "--quiet")

    def names(*options: str) -> list[str]:
        return [key["name"] for key in llmgate.json("key", "list", *options)]

    assert names() == ["a", "b", "c"]
    assert names("--user", "bob") == ["b", "c"]
    assert names("--organization", "Acme") == ["c"]
    assert names("--user", "ada", "--organization", "Acme") == []


def test_a_revoked_key_stops_and_leaves_the_list(llmgate: Cli, migrated: Path, bob: Any) -> None:
    """Revoking says which key it was; one that is not there is refused."""
    key = llmgate.json("key", "create", "bob", "--name", "laptop")
    assert llmgate("key", "revoke", str(key["id"])).stdout == f"Revoked key {key['id']}, {key['key']}.\n"
    assert llmgate.json("key", "list") == []
    with pytest.raises(Unauthenticated):
        _verify(migrated, key["secret"])
    expected = "There is no key 99: `llmgate key list` shows them all.\n"
    assert llmgate("key", "revoke", "99", code=1).stderr == expected


def test_what_a_key_may_do_is_said_when_it_is_made_and_changed_later(
    llmgate: Cli, migrated: Path, bob: Any
) -> None:
    """What is not named stays, what is cleared is as for everybody again."""
    said = ("--model", "llama-*", "--model", "chat", "--network", "10.0.0.0/8", "--priority", "5")
    made = llmgate.json("key", "create", "bob", "--name", "laptop", *said)
    assert (made["models"], made["networks"], made["priority"]) == ("llama-*, chat", "10.0.0.0/8", 5)
    changed = llmgate.json(
        *("key", "update", "1", "--weight", "2", "--requests-per-minute", "60", "--names-end-users"),
        *("--clear", "models", "--expires-in-days", "1"),
    )
    assert (changed["models"], changed["networks"], changed["priority"]) == (None, "10.0.0.0/8", 5)
    assert (changed["weight"], changed["requests_per_minute"], changed["names_end_users"]) == (2.0, 60, True)
    assert changed["expires_at"] is not None
    may = _verify(migrated, made["secret"]).key_may
    assert may is not None
    assert (may.networks, may.weight, may.names_end_users) == (("10.0.0.0/8",), 2.0, True)
    cleared = llmgate.json(
        *("key", "update", "1", "--clear", "expiry", "--clear", "requests-per-minute", "--no-end-users")
    )
    assert (cleared["expires_at"], cleared["requests_per_minute"], cleared["names_end_users"]) == (
        None,
        None,
        False,
    )


def test_what_a_key_cannot_be_held_to_is_refused_by_its_name(llmgate: Cli, bob: Any) -> None:
    """And nothing of the command line is done."""
    llmgate("key", "create", "bob", "--name", "laptop", "--quiet")
    assert "networks" in llmgate("key", "update", "1", "--network", "10.0.0.1/8", code=1).stderr
    assert "priority" in llmgate("key", "update", "1", "--priority", "1000", code=1).stderr
    assert (
        "weight"
        in llmgate("key", "update", "1", "--requests-per-minute", "5", "--weight", "-1", code=1).stderr
    )
    assert (
        "set on the same"
        in llmgate("key", "update", "1", "--priority", "1", "--clear", "priority", code=2).stderr
    )
    [key] = llmgate.json("key", "list")
    assert (key["networks"], key["priority"], key["requests_per_minute"]) == (None, None, None)
