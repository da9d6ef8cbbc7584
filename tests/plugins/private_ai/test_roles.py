"""Who may do what: every cell of the table of roles, asked of a running gate."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from llmgate_private_ai.people import Person
from llmgate_private_ai.roles import TABLE, Action, Rank, Reach, reach_of
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, Running

CALLERS = {
    Rank.SYSTEM_ADMIN: ADMIN,
    Rank.TEAM_ADMIN: "chief@bees.example",
    Rank.KEY_CREATOR: "maker@bees.example",
    Rank.READ_ONLY: "reader@bees.example",
    Rank.NO_TEAM: "alone@example.com",
}
INSIDE = {Reach.NONE: set(), Reach.OWN: {"own"}, Reach.SHARED: {"own", "team's"}}
INSIDE[Reach.TEAM] = INSIDE[Reach.SHARED] | {"member's"}
INSIDE[Reach.ALL] = INSIDE[Reach.TEAM] | {"other team's", "stranger's"}
THINGS = ("own", "team's", "member's", "other team's", "stranger's")


@dataclass
class World:
    """A gate with a team of bees, a team of wasps, and keys of everybody."""

    running: Running
    ids: dict[str, int]
    teams: dict[str, int]
    keys: dict[tuple[Rank, str], int]
    tokens: dict[int, str]


@pytest.fixture
async def world(open_gate: OpenGate) -> AsyncIterator[World]:
    async with open_gate() as running:
        bees, wasps = await running.team("Bees"), await running.team("Wasps")
        roles = {
            "chief@bees.example": "admin",
            "maker@bees.example": "key_creator",
            "reader@bees.example": "read_only",
        }
        people = {email: (bees, role) for email, role in roles.items()}
        people |= {"member@bees.example": (bees, "key_creator"), "chief@wasps.example": (wasps, "admin")}
        people |= {"alone@example.com": (None, None), "stranger@example.com": (None, None)}
        ids = {ADMIN: (await running.ask(ADMIN, "GET", "/auth/me"))["id"]}
        for email, (team, role) in people.items():
            ids[email] = (await running.user(email, team_id=team, role=role))["id"]
        made: dict[str, dict[str, Any]] = {}
        for email, user_id in ids.items():
            made[email] = await running.token(ADMIN, owner_id=user_id)
        made["bees"] = await running.token(ADMIN, team_id=bees)
        made["wasps"] = await running.token(ADMIN, team_id=wasps)
        keys: dict[tuple[Rank, str], int] = {}
        for rank, email in CALLERS.items():
            keys[rank, "own"] = made[email]["id"]
            keys[rank, "team's"] = made["bees"]["id"]
            keys[rank, "member's"] = made["member@bees.example"]["id"]
            keys[rank, "other team's"] = made["wasps"]["id"]
            keys[rank, "stranger's"] = made["stranger@example.com"]["id"]
        tokens = {key["id"]: key["litellm_token"] for key in made.values()}
        yield World(running, ids, {"bees": bees, "wasps": wasps}, keys, tokens)


def expected(action: Action, rank: Rank) -> set[str]:
    """The things that the table lets a caller reach; who is in no team shares nothing."""
    return INSIDE[TABLE[action][rank]] & ({"own"} if rank is Rank.NO_TEAM else set(THINGS))


@pytest.mark.parametrize("rank", Rank)
async def test_seeing_keys(world: World, rank: Rank) -> None:
    listed = {key["id"] for key in await world.running.ask(CALLERS[rank], "GET", "/private-ai-keys")}
    seen = {thing for thing in THINGS if world.keys[rank, thing] in listed}
    assert seen == expected(Action.LIST_KEYS, rank)
    for thing in THINGS:
        status = 200 if thing in seen else 404
        await world.running.ask(
            CALLERS[rank], "GET", f"/private-ai-keys/{world.keys[rank, thing]}", status=status
        )


@pytest.mark.parametrize("rank", Rank)
async def test_seeing_spend(world: World, rank: Rank) -> None:
    for thing in THINGS:
        for what in ("spend", "usage"):
            path = f"/private-ai-keys/{world.keys[rank, thing]}/{what}"
            status = 200 if thing in expected(Action.LIST_KEYS, rank) else 404
            await world.running.ask(CALLERS[rank], "GET", path, status=status)


@pytest.mark.parametrize("rank", Rank)
async def test_setting_budgets(world: World, rank: Rank) -> None:
    for thing in THINGS:
        key_id = world.keys[rank, thing]
        missing = 403 if TABLE[Action.SET_BUDGETS][rank] is Reach.NONE else 404
        status = 200 if thing in expected(Action.SET_BUDGETS, rank) else missing
        for path, body in (
            (f"/private-ai-keys/{key_id}/budget-period", {"budget_duration": "7d"}),
            (f"/private-ai-keys/{key_id}/extend-token-life", {"duration": "7d"}),
            ("/private-ai-keys/token/extend-token-life", {"token": world.tokens[key_id], "duration": 7}),
        ):
            await world.running.ask(CALLERS[rank], "PUT", path, body, status=status)


@pytest.mark.parametrize("rank", Rank)
async def test_deleting_keys(world: World, rank: Rank) -> None:
    for thing in THINGS:
        status = 403 if thing in expected(Action.LIST_KEYS, rank) else 404
        status = 200 if thing in expected(Action.DELETE_KEYS, rank) else status
        path = f"/private-ai-keys/{world.keys[rank, thing]}"
        await world.running.ask(CALLERS[rank], "DELETE", path, status=status)


@pytest.mark.parametrize("rank", Rank)
async def test_making_keys(world: World, rank: Rank) -> None:
    reach, caller = TABLE[Action.CREATE_KEYS][rank], CALLERS[rank]
    owners = {
        "own": {},
        "team's": {"team_id": world.teams["bees"]},
        "member's": {"owner_id": world.ids["member@bees.example"]},
        "other team's": {"team_id": world.teams["wasps"]},
        "stranger's": {"owner_id": world.ids["stranger@example.com"]},
    }
    for thing, owner in owners.items():
        missing = 404 if thing == "stranger's" and reach is Reach.TEAM else 403
        status = 200 if thing in expected(Action.CREATE_KEYS, rank) else missing
        body = {"name": "new", "region_id": 1, **owner}
        await world.running.ask(caller, "POST", "/private-ai-keys/token", body, status=status)


USER = "/users/{member}"
ADMINISTRATION: dict[Action, list[tuple[str, str, Any]]] = {
    Action.MANAGE_USERS: [
        ("GET", "/users", None),
        ("GET", USER, None),
        ("PUT", USER, {}),
        ("POST", USER + "/role", {"role": "read_only"}),
        ("POST", "/users", {"email": "new@bees.example", "password": "long enough", "team_id": "{bees}"}),
        ("POST", USER + "/remove-from-team", None),
    ],
    Action.DELETE_USERS: [("GET", "/users/search?email=a", None), ("DELETE", "/users/{reader}", None)],
    Action.MANAGE_TEAM: [("GET", "/teams/{bees}", None), ("PUT", "/teams/{bees}", {"phone": "1"})],
    Action.MANAGE_TEAMS: [
        ("GET", "/teams", None),
        ("POST", "/teams", {"name": "New", "admin_email": "new@new.example"}),
        ("POST", "/teams/{bees}/extend-trial", None),
        ("DELETE", "/teams/{bees}", None),
    ],
    Action.READ_REGIONS: [("GET", "/regions", None)],
    Action.WRITE_REGIONS: [
        ("GET", "/regions/admin", None),
        ("GET", "/regions/1", None),
        ("PUT", "/regions/1", {"label": "x"}),
        ("DELETE", "/regions/1", None),
        ("GET", "/regions/1/teams", None),
    ],
    Action.READ_PRODUCTS: [("GET", "/products", None), ("GET", "/pricing-tables", None)],
    Action.WRITE_PRODUCTS: [
        ("POST", "/products", {"id": "prod_1", "name": "one"}),
        ("PUT", "/products/prod_1", {"name": "two"}),
        ("POST", "/pricing-tables", {"pricing_table_id": "prctbl_1"}),
        ("GET", "/pricing-tables/list", None),
        ("DELETE", "/pricing-tables", None),
        ("DELETE", "/products/prod_1", None),
    ],
    Action.READ_AUDIT: [
        ("GET", "/audit/logs", None),
        ("GET", "/audit/logs/metadata", None),
        ("GET", "/audit", None),
    ],
}


def filled(world: World, value: Any) -> Any:
    known = {
        **world.teams,
        "member": world.ids["member@bees.example"],
        "reader": world.ids["reader@bees.example"],
    }
    if isinstance(value, dict):
        return {name: filled(world, each) for name, each in value.items()}
    return value.format_map(known) if isinstance(value, str) else value


@pytest.mark.parametrize("action", ADMINISTRATION)
@pytest.mark.parametrize("rank", Rank)
async def test_administration(world: World, rank: Rank, action: Action) -> None:
    """Whoever the table lets in is not refused; all others are, whatever they ask."""
    for method, path, body in ADMINISTRATION[action]:
        answer = await world.running.http.request(
            method,
            filled(world, path),
            json=filled(world, body),
            headers={"authorization": f"Bearer {world.running.bearers[CALLERS[rank]]}"},
        )
        allowed = TABLE[action][rank] is not Reach.NONE
        assert (answer.status_code != 403) is allowed, (method, path, answer.text)
        assert answer.status_code < 500


def test_every_action_of_the_table_is_tried() -> None:
    keys = {Action.LIST_KEYS, Action.CREATE_KEYS, Action.DELETE_KEYS, Action.SET_BUDGETS}
    assert set(TABLE) == keys | set(ADMINISTRATION) == set(Action)


@pytest.mark.parametrize("path", ["/teams/{wasps}", "/products?team_id={wasps}"])
async def test_of_another_team_one_gets_nothing(world: World, path: str) -> None:
    await world.running.ask(CALLERS[Rank.TEAM_ADMIN], "GET", filled(world, path), status=403)


@pytest.mark.parametrize(
    ("change", "rank"),
    [
        (lambda p: p | {"is_admin": True}, Rank.SYSTEM_ADMIN),
        (lambda p: p | {"team_id": 1, "role": "admin"}, Rank.TEAM_ADMIN),
        (lambda p: p | {"team_id": 1, "role": "system_admin"}, Rank.READ_ONLY),
        (lambda p: p | {"team_id": None, "role": "admin"}, Rank.NO_TEAM),
    ],
    ids=["is_admin alone makes one", "team admin", "no role makes a system admin", "a role without a team"],
)
def test_ranks(change: Callable[[dict[str, Any]], dict[str, Any]], rank: Rank) -> None:
    person = {
        "id": 1, "email": "a@a.de", "is_active": True, "is_admin": False,
        "team_id": None, "team_name": None, "role": None, "team_active": True,
    }  # fmt: skip
    assert Person(**change(person)).rank is rank
    assert reach_of(rank, Action.READ_AUDIT) is (Reach.ALL if rank is Rank.SYSTEM_ADMIN else Reach.NONE)
