import asyncio
from pathlib import Path
from typing import Any

from cli.conftest import Cli
from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.errors import Unauthenticated


def _signs_in(folder: Path, name: str, password: str) -> bool:
    async def sign_in() -> bool:
        async with administer(load(folder / "gate.toml")) as gate:
            try:
                await gate.identity.users.authenticate(name, password)
            except Unauthenticated:
                return False
            return True

    return asyncio.run(sign_in())


def test_the_first_admin_is_made_with_a_password_from_stdin(llmgate: Cli, migrated: Path) -> None:
    """The password is the first line, without its end; the role and the address are there at once."""
    options = ("--email", "Ada@Example.org", "--admin", "--password-stdin")
    assert (
        "Added ada, user 1." in llmgate("user", "add", "ada", *options, stdin="correct horse\r\nrest").stdout
    )
    ada = llmgate.json("user", "show", "ada")
    assert (ada["roles"], ada["email"], ada["active"]) == (["admin"], "ada@example.org", True)
    assert _signs_in(migrated, "ada", "correct horse")


def test_the_password_rules_of_gate_toml_hold(llmgate: Cli, migrated: Path) -> None:
    """A refused password makes no user."""
    with (migrated / "gate.toml").open("a") as file:
        file.write("[passwords]\nmin_length = 20\n")
    stderr = llmgate("user", "add", "ada", "--password-stdin", stdin="correct horse\n", code=1).stderr
    assert "at least 20 characters" in stderr
    assert llmgate.json("user", "list") == []


def test_users_are_listed_and_searched(llmgate: Cli) -> None:
    """With or without a match the exit code is 0: an empty list is an answer."""
    assert "llmgate user add" in llmgate("user", "list").stdout
    for name in ("ada", "bob", "bobby"):
        llmgate("user", "add", name, "--no-password")
    assert [user["username"] for user in llmgate.json("user", "list")] == ["ada", "bob", "bobby"]
    assert [user["username"] for user in llmgate.json("user", "list", "--search", "BOB")] == ["bob", "bobby"]
    assert llmgate("user", "list", "--search", "zoe").stdout == "No such users.\n"


def test_a_name_that_is_taken_or_not_there_is_refused_with_code_1(llmgate: Cli, bob: Any) -> None:
    """One line on stderr says what is wrong and where to look."""
    assert llmgate("user", "add", "bob", "--no-password", code=1).stderr == "The username is taken.\n"
    expected = 'There is no user "zoe": `llmgate user list` shows them all.\n'
    for command in (("show", "zoe"), ("grant", "zoe", "admin"), ("deactivate", "zoe")):
        assert llmgate("user", *command, code=1).stderr == expected


def test_an_address_that_nobody_has_confirmed_is_no_name(llmgate: Cli) -> None:
    """Or a stranger who has written down the boss's address would get what the boss was meant to get."""
    llmgate("user", "add", "mallory", "--email", "boss@example.org", "--no-password")
    for command in (
        ("user", "grant", "boss@example.org", "admin"),
        ("key", "create", "boss@example.org", "--name", "k"),
    ):
        said = llmgate(*command, code=1).stderr
        assert "nobody has confirmed" in said and "mallory" in said
    assert llmgate.json("user", "show", "mallory")["roles"] == []


def test_a_name_with_an_at_is_a_name_in_whatever_case(llmgate: Cli) -> None:
    llmgate("user", "add", "Bob@Example.org", "--no-password")
    assert llmgate.json("user", "show", "BOB@example.org")["username"] == "bob@example.org"


def test_roles_are_granted_and_revoked(llmgate: Cli, bob: Any) -> None:
    """Each command answers with the user as it is then."""
    assert llmgate.json("user", "grant", "bob", "admin")["roles"] == ["admin"]
    assert llmgate.json("user", "grant", "bob", "admin")["roles"] == ["admin"]
    assert llmgate("user", "revoke", "bob", "admin").stdout == "bob does not have the role admin now.\n"
    assert llmgate.json("user", "show", "bob")["roles"] == []


def test_a_user_is_logged_out_everywhere(llmgate: Cli, migrated: Path, bob: Any) -> None:
    """Beside a gate that runs, whose sessions are proven by the store."""

    async def token() -> str:
        async with administer(load(migrated / "gate.toml")) as gate:
            return (await gate.identity.sessions.issue(await gate.identity.users.by_username("bob"))).token

    async def holds(token: str) -> bool:
        async with administer(load(migrated / "gate.toml")) as gate:
            try:
                return await gate.identity.sessions.verify(token) is not None
            except Unauthenticated:
                return False

    tokens = [asyncio.run(token()) for _ in range(2)]
    assert all(asyncio.run(holds(each)) for each in tokens)
    assert llmgate("user", "logout", "bob").stdout == "bob is logged out everywhere now.\n"
    assert not any(asyncio.run(holds(each)) for each in tokens)


def test_a_user_is_kept_out_and_let_in_again(llmgate: Cli, bob: Any) -> None:
    """Deactivated is not deleted."""
    assert llmgate.json("user", "deactivate", "bob")["active"] is False
    assert llmgate.json("user", "activate", "bob")["active"] is True


def test_a_password_is_set_and_removed(llmgate: Cli, migrated: Path, bob: Any) -> None:
    """Without one nobody signs in."""
    llmgate("user", "password", "bob", "--password-stdin", stdin="correct horse\n")
    assert _signs_in(migrated, "bob", "correct horse")
    assert llmgate("user", "password", "bob", "--no-password").stdout == "bob has no password now.\n"
    assert not _signs_in(migrated, "bob", "correct horse")
