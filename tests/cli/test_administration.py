"""The store's services for one command, and what is said of names that are not there."""

from pathlib import Path

import pytest

from llmgate.cli.administration import administer, or_look_at
from llmgate.config import load
from llmgate.errors import NotFound, StoreError


async def test_what_a_command_line_names_is_found(migrated: Path) -> None:
    async with administer(load(migrated / "gate.toml")) as gate:
        ann = await gate.identity.users.register("ann", None)
        team = await gate.identity.organizations.create("team")
        key, _ = await gate.identity.keys.create(ann.id, "laptop")
        assert (await gate.user("ann")).id == ann.id
        assert (await gate.organization("team")).id == team.id
        assert (await gate.key(key.id)).name == "laptop"
        assert await gate.usernames([ann.id, None, ann.id]) == {ann.id: "ann"}
        assert await gate.organization_names([None, team.id]) == {team.id: "team"}


async def test_what_is_not_there_comes_with_the_command_that_lists_what_is(migrated: Path) -> None:
    async with administer(load(migrated / "gate.toml")) as gate:
        with pytest.raises(NotFound, match=r'There is no user "bob": `llmgate user list` shows them all\.'):
            await gate.user("bob")
        with pytest.raises(NotFound, match="llmgate org list"):
            await gate.organization("nobody")
        with pytest.raises(NotFound, match="llmgate key list"):
            await gate.key(7)


async def test_a_store_that_is_not_migrated_says_what_to_run(folder: Path) -> None:
    with pytest.raises(StoreError, match="llmgate migrate"):
        async with administer(load(folder / "gate.toml")):
            pass


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), or_look_at("thing", "llmgate list"):
        raise KeyError("bug")
