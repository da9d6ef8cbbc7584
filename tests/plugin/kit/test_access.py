"""Who may name whom, and which role a member needs. Whose quota pays, Leaky Tokens' tests show."""

from typing import Any

import pytest
from stores import clock, migrated_file, sqlite_url
from stores import store as _store

from llmgate.errors import Forbidden, NotFound
from llmgate.exchange import Exchange, Principal
from llmgate.identity import Identity
from llmgate.plugin.call import Call
from llmgate.plugin.kit.access import TeamRole
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "sqlite_url"]


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


store = _store


def call(principal: Principal, **path: str) -> Call:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    return Call.of({"path_params": path, "llmgate": Exchange("1", 0.0, principal=principal)}, gone)


async def test_a_team_is_for_its_members_with_the_role(store: Store) -> None:
    """By id or UUID; to strangers it is not there; administrators of the gate may always."""
    identity = Identity.over(store)
    ann, bob, eve, root = [
        await identity.users.register(name, None) for name in ("ann", "bob", "eve", "root")
    ]
    team = await identity.organizations.create("team")
    await identity.organizations.add_member(team.id, ann.id, role="admin")
    await identity.organizations.add_member(team.id, bob.id, role="read_only")
    access = TeamRole(identity, "admin", "owner", parameter="team")
    for named in (str(team.id), team.uuid):
        assert (await access(call(Principal(ann.id, "ann"), team=named))).id == team.id
        admin = Principal(root.id, "root", frozenset({"admin"}))
        assert (await access(call(admin, team=named))).id == team.id
        with pytest.raises(Forbidden, match="admin or owner"):
            await access(call(Principal(bob.id, "bob"), team=named))
        with pytest.raises(NotFound):
            await access(call(Principal(eve.id, "eve"), team=named))
        with pytest.raises(NotFound):
            await access(call(admin, team="999"))


async def test_the_documentation_says_what_is_needed(store: Store) -> None:
    access = TeamRole(Identity.over(store), "admin")
    assert access.__doc__ == "Needs the role `admin` in the team."
