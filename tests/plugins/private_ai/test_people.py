"""Users as this surface knows them: found by their address, ranked by their role, kept out with their team."""

from dataclasses import replace

import pytest

from llmgate.plugin.api import BadRequest, NotFound
from llmgate_private_ai.people import People, Person, Which, address_of, untagged
from llmgate_private_ai.roles import Rank
from plugins.private_ai.gate import ADMIN, Running

ANN, BOB = "ann@example.com", "b_b@example.com"
MEMBER = Person(1, ANN, True, False, 7, "Bees", "read_only", True)


@pytest.mark.parametrize(
    ("email", "account"),
    [
        ("ann+spam@example.com", ANN),
        ("ann+a+b@example.com", ANN),
        (ANN, ANN),
        ("+tag@example.com", "+tag@example.com"),  # nothing would be left
    ],
)
def test_a_tag_makes_no_second_account(email: str, account: str) -> None:
    assert untagged(email) == account


def test_an_address_is_lower_case_and_has_no_tag() -> None:
    assert address_of(" Ann+Spam@Example.com ") == ANN
    with pytest.raises(BadRequest):
        address_of("ann")


@pytest.mark.parametrize(
    ("role", "rank"),
    [
        ("admin", Rank.TEAM_ADMIN),
        ("key_creator", Rank.KEY_CREATOR),
        ("read_only", Rank.READ_ONLY),
        ("owner", Rank.READ_ONLY),  # of another surface: no rights that the table does not give
        (None, Rank.READ_ONLY),
    ],
)
def test_a_role_that_is_not_known_gives_the_least(role: str | None, rank: Rank) -> None:
    assert replace(MEMBER, role=role).rank is rank


def test_a_system_admin_is_one_in_a_team_as_well_and_is_not_suspended_with_it() -> None:
    assert replace(MEMBER, is_admin=True).rank is Rank.SYSTEM_ADMIN
    assert replace(MEMBER, team_active=False).suspended
    assert not replace(MEMBER, team_active=False, is_admin=True).suspended
    assert replace(MEMBER, team_id=None, role=None).rank is Rank.NO_TEAM


async def test_a_user_is_found_by_id_and_by_address_in_any_case_with_a_tag_or_without(
    running: Running,
) -> None:
    made = await running.user(ANN)
    people = People(running.gate.services.store)
    for email in (ANN, "ANN@example.com", "ann+spam@example.com"):
        found = await people.by_email(email)
        assert found is not None and found.id == made["id"]
    assert await people.by_email("nobody@example.com") is None
    assert (await people.by_id(made["id"])).email == ANN
    with pytest.raises(NotFound, match="User not found"):
        await people.by_id(99_999)


async def test_lists_are_filtered_sorted_and_counted_in_all(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    bob = await running.user(BOB, team_id=team, role="key_creator")
    people = People(running.gate.services.store)
    assert [each.email for each in await people.members(team)] == [ANN, BOB]
    page, total = await people.page(Which(team_id=team, sort_by="email", descending=True, limit=1))
    assert ([each.email for each in page], total) == ([BOB], 2)
    page, total = await people.page(Which(role="system_admin"))
    assert ([each.email for each in page], total) == ([ADMIN], 1)
    await running.ask(ADMIN, "PUT", f"/users/{bob['id']}", {"is_active": False})
    page, total = await people.page(Which(team_id=team, include_inactive=False))
    assert ([each.email for each in page], total) == ([ANN], 1)


async def test_what_is_searched_for_is_text_and_no_pattern(running: Running) -> None:
    await running.user(ANN)
    await running.user(BOB)
    people = People(running.gate.services.store)
    assert [each.email for each in await people.search("B_B")] == [BOB]
    assert await people.search("%") == []
