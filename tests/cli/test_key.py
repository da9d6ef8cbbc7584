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
