"""Who calls, and what the table of roles lets the caller do."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from llmgate.plugin.api import Forbidden
from llmgate_private_ai.access import NOT_AUTHORIZED, Caller
from llmgate_private_ai.people import Person
from llmgate_private_ai.roles import Action, Reach
from plugins.private_ai.gate import Running

ANN = "ann@example.com"


async def test_a_models_token_does_not_open_the_api(running: Running) -> None:
    await running.user(ANN)
    running.bearers["llm"] = (await running.token(ANN))["litellm_token"]
    await running.ask("llm", "GET", "/auth/me", status=401)
    await running.ask("llm", "GET", "/private-ai-keys", status=401)


@dataclass(frozen=True)
class Thing:
    """A key, say."""

    owner_id: int | None = None
    team_id: int | None = None
    owner_team_id: int | None = None


MINE, COLLEAGUES, TEAMS = Thing(1, None, 7), Thing(2, None, 7), Thing(None, 7)
STRANGERS, OTHER_TEAMS = Thing(3, None, 8), Thing(None, 8)
NOBODYS = Thing(3)
THINGS = (MINE, TEAMS, COLLEAGUES, STRANGERS, OTHER_TEAMS, NOBODYS)


def caller(**values: Any) -> Caller:
    return Caller(replace(Person(1, ANN, True, False, 7, "Bees", "read_only", True), **values))


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        (caller(is_admin=True), THINGS),
        (caller(role="admin"), (MINE, TEAMS, COLLEAGUES)),
        (caller(role="key_creator"), (MINE, TEAMS)),
        (caller(role="read_only"), (MINE, TEAMS)),
        (caller(team_id=None, role=None), (MINE,)),
    ],
    ids=["system admin", "team admin", "key creator", "read only", "no team"],
)
def test_an_action_reaches_what_the_table_says(who: Caller, seen: tuple[Thing, ...]) -> None:
    assert tuple(thing for thing in THINGS if who.may(Action.LIST_KEYS, thing)) == seen


def test_a_teams_admin_acts_in_that_team_alone() -> None:
    assert caller(role="admin").require(Action.MANAGE_TEAM, team_id=7) is Reach.TEAM
    assert caller(is_admin=True).require(Action.MANAGE_TEAM, team_id=8) is Reach.ALL
    for who, team_id in ((caller(role="admin"), 8), (caller(role="read_only"), 7), (caller(), None)):
        with pytest.raises(Forbidden, match=NOT_AUTHORIZED):
            who.require(Action.MANAGE_TEAM, team_id=team_id)
