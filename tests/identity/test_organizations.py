"""Organizations: names, members and their roles."""

import pytest

from llmgate.errors import BadRequest, Conflict, NotFound
from llmgate.identity import Identity, Member, Membership


async def test_an_organization_is_found_by_every_name_it_has(identity: Identity) -> None:
    acme = await identity.organizations.create("Acme & Søn; DROP TABLE organizations")
    assert await identity.organizations.by_id(acme.id) == acme
    assert await identity.organizations.by_uuid(acme.uuid) == acme
    assert await identity.organizations.by_name(acme.name) == acme
    assert await identity.organizations.all() == [acme]


async def test_a_name_is_given_once(identity: Identity) -> None:
    await identity.organizations.create("acme")
    other = await identity.organizations.create("other")
    with pytest.raises(Conflict):
        await identity.organizations.create("acme")
    with pytest.raises(Conflict):
        await identity.organizations.rename(other.id, "acme")
    await identity.organizations.rename(other.id, "other")
    await identity.organizations.rename(other.id, "renamed")
    assert (await identity.organizations.by_id(other.id)).name == "renamed"


async def test_members_have_one_role_which_can_change(identity: Identity) -> None:
    acme = await identity.organizations.create("acme")
    ann = await identity.users.register("ann", None)
    bob = await identity.users.register("bob", None)
    await identity.organizations.add_member(acme.id, bob.id)
    await identity.organizations.add_member(acme.id, ann.id)
    await identity.organizations.add_member(acme.id, bob.id, role="owner")
    members = await identity.organizations.members(acme.id)
    assert members == [Member(ann.id, "ann", "member"), Member(bob.id, "bob", "owner")]
    assert await identity.organizations.of_user(bob.id) == [Membership(acme, "owner")]
    await identity.organizations.remove_member(acme.id, bob.id)
    assert await identity.organizations.of_user(bob.id) == []


async def test_a_deleted_user_is_no_member_any_more(identity: Identity) -> None:
    acme = await identity.organizations.create("acme")
    ann = await identity.users.register("ann", None)
    await identity.organizations.add_member(acme.id, ann.id)
    await identity.users.delete(ann.id)
    assert await identity.organizations.members(acme.id) == []


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, " acme"])
async def test_a_name_that_could_deceive_is_refused(identity: Identity, name: str) -> None:
    with pytest.raises(BadRequest):
        await identity.organizations.create(name)


async def test_what_is_asked_of_nothing_is_not_found(identity: Identity) -> None:
    acme = await identity.organizations.create("acme")
    ann = await identity.users.register("ann", None)
    for attempt in (
        identity.organizations.by_id(99),
        identity.organizations.by_uuid("x"),
        identity.organizations.by_name("x"),
        identity.organizations.rename(99, "x"),
        identity.organizations.set_active(99, True),
        identity.organizations.members(99),
        identity.organizations.add_member(99, ann.id),
        identity.organizations.add_member(acme.id, 99),
        identity.organizations.remove_member(acme.id, ann.id),
    ):
        with pytest.raises(NotFound):
            await attempt
